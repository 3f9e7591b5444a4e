/* Resample a block of a scan at the voxels of a warped patch: image linear, codes nearest.
 *
 * The arithmetic is that of `resample.py`, operation by operation, so that both give the same bits:
 * nothing may be contracted or reordered except as written in `mix`.
 *
 * A patch is processed plane by plane (along its first axis), ROW voxels at a time. Plain loops are
 * left to the compiler to vectorise; gathers of halves and bytes, which cannot be vectorised, are
 * in loops of their own.
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
    int64_t nodes;    /* planes of the bend; 0 without a bend */
    int64_t leaves;   /* whether some voxel of the patch may lie outside the scan */
} shapes;

/* A row: weights of the next voxel along each axis, index of the voxel below, whether outside. */
typedef struct {
    float share[3][ROW];
    int32_t index[ROW];
    int32_t gone[ROW];
} row;

/* Interpolate from a to b by a share of 0 to 1, starting from the nearer end. */
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

/* Convert half to float: a factor rebiases the exponent; an exponent of all ones is restored. */
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

/* Split the coordinates of a row along one axis into voxel index and the share beyond it. */
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
        inside = inside > 0 ? inside : 0; /* also if it is NaN */
        inside = inside > end ? end : inside;
        float below = floorf(inside);
        below = below > last ? last : below;
        where[v] = inside - below;
        r->index[v] = r->index[v] * length + (int32_t)below;
    }
}

/* Read the 8 corners: corner 4 x + 2 y + z is x, y, z steps on from the voxel below. */
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
        uint16_t pair[ROW][2]; /* neighbours along the last axis are adjacent in memory */
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

/* Reads image [channels, *shape]; codes [*shape] or NULL; column [3, X] and sheet [3, Y, Z], whose
 * sum gives scan coordinates; bend [3, nodes, Y, Z], with the node `before` each plane of the patch
 * and the share `between` it and the next. Writes out [channels, *size] and found [*size]. */
void resample(const shapes *s, const void *image, const uint8_t *codes, const float *column,
              const float *sheet, const float *bend, const int32_t *before, const float *between,
              float *out, uint8_t *found)
{
    int64_t plane = s->size[1] * s->size[2], voxels = s->shape[0] * s->shape[1] * s->shape[2];
    /* An axis of one voxel has no neighbour to interpolate with. */
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
