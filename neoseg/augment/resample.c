/* Values of a block of a scan at the voxels of a bent patch: image linear, codes nearest.
 *
 * The arithmetic is that of `resample.py`, operation by operation, so a patch has the same bits
 * whichever computes it: nothing may be contracted or reordered but what `mix` says.
 *
 * A patch is worked through plane by plane (its first axis), a row of ROW voxels at a time. Plain
 * loops are left to the compiler to vectorise; what only one voxel after another can do, reading
 * halves and bytes from anywhere, has loops of its own.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define ROW 64

typedef struct {
    int64_t size[3];  /* of the patch */
    int64_t shape[3]; /* of the block */
    int64_t limit[3]; /* of the scan */
    int64_t corner[3]; /* of the block, in the scan */
    int64_t channels;
    int64_t half;     /* whether the image is float16, else float32 */
    int64_t nodes;    /* planes of the bend; 0 where nothing bends */
    int64_t leaves;   /* whether some voxel of the patch may lie outside the scan */
} shapes;

/* A row: shares of the next voxel along each axis, the voxel below, and whether it is outside. */
typedef struct {
    float share[3][ROW];
    int32_t index[ROW];
    int32_t gone[ROW];
} row;

/* From a to b by a share of 0 to 1, counted from the nearer end. */
static inline float mix(float a, float b, float share)
{
    int near = share < 0.5f;
    float weight = near ? share : share - 1, from = near ? a : b;
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return fmaf(weight, b - a, from);
#else
    return weight * (b - a) + from;
#endif
}

/* A half as a float: the exponent is moved by a factor; one full of ones is kept so. */
static inline float widen(uint32_t half)
{
    union {
        uint32_t bits;
        float value;
    } wide = {(half & 0x7fff) << 13};
    wide.value *= 0x1p112f;
    wide.bits |= (half & 0x8000) << 16;
    wide.bits |= (half & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
    return wide.value;
}

/* The coordinates of a row along one axis: split them into whole voxels and the share beyond. */
static void locate(row *r, const shapes *s, int axis, float shift, const float *flat,
                   const float *bend, float between, int64_t count)
{
    float corner = s->corner[axis], end = s->shape[axis] - 1, last = end > 1 ? end - 1 : 0;
    float far = s->limit[axis] - 0.5f, *where = r->share[axis];
    int32_t length = s->shape[axis];

    for (int64_t v = 0; v < count; v++)
        where[v] = shift + flat[v];
    if (bend) {
        const float *next = bend + s->size[1] * s->size[2];
        for (int64_t v = 0; v < count; v++)
            where[v] += mix(bend[v], next[v], between);
    }
    if (s->leaves)
        for (int64_t v = 0; v < count; v++)
            r->gone[v] |= (where[v] < -0.5f) | (where[v] > far);
    for (int64_t v = 0; v < count; v++) {
        float inside = where[v] - corner;
        inside = inside < 0 ? 0 : inside;
        inside = inside > end ? end : inside;
        float below = floorf(inside);
        below = below > last ? last : below;
        where[v] = inside - below;
        r->index[v] = r->index[v] * length + (int32_t)below;
    }
}

/* Corner 4 x + 2 y + z of a voxel is the one x, y, z steps on from that below. */
static void read_floats(float (*restrict corner)[ROW], const float *restrict block,
                        const int32_t *restrict index, const int32_t *step, int64_t count)
{
    for (int n = 0; n < 8; n++) {
        const float *from = block + (n >> 2) * step[0] + (n >> 1 & 1) * step[1] + (n & 1) * step[2];
        for (int64_t v = 0; v < count; v++)
            corner[n][v] = from[index[v]];
    }
}

static void read_halves(float (*restrict corner)[ROW], const uint16_t *restrict block,
                        const int32_t *restrict index, const int32_t *step, int64_t count)
{
    for (int n = 0; n < 8; n += 2) {
        const uint16_t *from = block + (n >> 2) * step[0] + (n >> 1 & 1) * step[1];
        uint16_t pair[ROW][2]; /* neighbours along the last axis lie together */
        for (int64_t v = 0; v < count; v++)
            if (step[2])
                memcpy(pair[v], from + index[v], sizeof pair[v]);
            else
                pair[v][0] = pair[v][1] = from[index[v]];
        for (int64_t v = 0; v < count; v++) {
            corner[n][v] = widen(pair[v][0]);
            corner[n + 1][v] = widen(pair[v][1]);
        }
    }
}

static void blend(float *restrict out, float (*restrict c)[ROW], float (*restrict share)[ROW],
                  int64_t count)
{
    for (int64_t v = 0; v < count; v++) {
        float x = share[0][v], y = share[1][v], z = share[2][v];
        float low = mix(mix(c[0][v], c[1][v], z), mix(c[2][v], c[3][v], z), y);
        float high = mix(mix(c[4][v], c[5][v], z), mix(c[6][v], c[7][v], z), y);
        out[v] = mix(low, high, x);
    }
}

static void nearest(uint8_t *restrict out, const uint8_t *restrict codes, const row *r,
                    const int32_t *step, int64_t leaves, int64_t count)
{
    int32_t spot[ROW];
    for (int64_t v = 0; v < count; v++)
        spot[v] = r->index[v] + (int32_t)rintf(r->share[0][v]) * step[0] +
                  (int32_t)rintf(r->share[1][v]) * step[1] +
                  (int32_t)rintf(r->share[2][v]) * step[2];
    for (int64_t v = 0; v < count; v++)
        out[v] = codes[spot[v]];
    if (leaves)
        for (int64_t v = 0; v < count; v++)
            out[v] = r->gone[v] ? 0 : out[v];
}

/* image [channels, *shape], codes [*shape] or NULL; column [3, X] and sheet [3, Y, Z], which add up
 * to scan coordinates; bend [3, nodes, Y, Z], of which each plane has one node before it and lies
 * `between` it and the next. Writes image [channels, *size] and found [*size]. */
void resample(const shapes *s, const void *image, const uint8_t *codes, const float *column,
              const float *sheet, const float *bend, const int32_t *before, const float *between,
              float *out, uint8_t *found)
{
    int64_t plane = s->size[1] * s->size[2], voxels = s->shape[0] * s->shape[1] * s->shape[2];
    /* An axis of one voxel has no neighbour to mix with. */
    int32_t step[3] = {s->shape[0] > 1 ? s->shape[1] * s->shape[2] : 0,
                       s->shape[1] > 1 ? s->shape[2] : 0, s->shape[2] > 1};

    for (int64_t x = 0; x < s->size[0]; x++)
        for (int64_t first = 0; first < plane; first += ROW) {
            int64_t count = plane - first < ROW ? plane - first : ROW, at = x * plane + first;
            float corner[8][ROW];
            row r;
            memset(r.index, 0, sizeof r.index);
            memset(r.gone, 0, sizeof r.gone);
            for (int a = 0; a < 3; a++)
                locate(&r, s, a, column[a * s->size[0] + x], sheet + a * plane + first,
                       s->nodes ? bend + (a * s->nodes + before[x]) * plane + first : NULL,
                       s->nodes ? between[x] : 0, count);
            for (int64_t channel = 0; channel < s->channels; channel++) {
                int64_t start = channel * voxels;
                if (s->half)
                    read_halves(corner, (const uint16_t *)image + start, r.index, step, count);
                else
                    read_floats(corner, (const float *)image + start, r.index, step, count);
                blend(out + channel * s->size[0] * plane + at, corner, r.share, count);
            }
            if (codes)
                nearest(found + at, codes, &r, step, s->leaves, count);
        }
}
