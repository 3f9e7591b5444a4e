/* The two passes over float32 logits, for a range of voxels, one voxel at a time.
 *
 * Logits are channel-first: channel n of voxel v is z[n * stride + v]. A tile of voxels is
 * transposed first, so that the channels of a voxel are contiguous, padded to `width`, a multiple
 * of LANES; tables by code have `width` columns too. Sums are accumulated in float32 for a block of
 * voxels, then added to double. Plain loops are left to the compiler to vectorise, which it may do
 * for sums only if their order is declared irrelevant (-fassociative-math).
 *
 * Pointers to sums or slopes that are not requested are NULL.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TILE 64
#define BLOCK 4096
#define LOWEST (-80.0f) /* log P below which P is too small to be divided by */
#define LEAST (-1e30f)  /* no logarithm is lower, so that sums stay finite: see LARGEST in slabs.py */

/* Eight floats of any alignment; GCC and Clang turn operators on them into vector code. */
typedef float floats __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(32), aligned(4), may_alias));
#define LANES 8

static inline floats choose(ints where, floats yes, floats no)
{
    return (floats)((where & (ints)yes) | (~where & (ints)no));
}

static inline floats magnitude(floats x)
{
    return (floats)((ints)x & 0x7fffffff);
}

/* e^x for x <= 0: 2^n by the exponent bits, the rest by a polynomial (Cody and Waite reduction).
 * Below -87.7 the exponent bits are 0, and so is the result. NaN stays NaN. */
static inline floats fast_exp(floats x)
{
    floats y = choose(x < -88.0f, (floats){0} - 88.0f, x);
    ints whole = __builtin_convertvector(y * 1.44269504f - 0.5f, ints);
    floats n = __builtin_convertvector(whole, floats);
    floats r = y - n * 0.693359375f + n * 2.12194440e-4f;
    floats q = r * (1.0f / 5040) + 1.0f / 720;
    q = q * r + 1.0f / 120;
    q = q * r + 1.0f / 24;
    q = q * r + 1.0f / 6;
    q = q * r + 0.5f;
    q = q * r + 1.0f;
    q = q * r + 1.0f;
    return q * (floats)((whole + 127) << 23);
}

/* log(1 + u) for u in [0, 1], by the series of atanh. */
static inline floats fast_log1p(floats u)
{
    floats s = u / (2.0f + u), s2 = s * s;
    floats q = s2 * (1.0f / 15) + 1.0f / 13;
    q = q * s2 + 1.0f / 11;
    q = q * s2 + 1.0f / 9;
    q = q * s2 + 1.0f / 7;
    q = q * s2 + 1.0f / 5;
    q = q * s2 + 1.0f / 3;
    q = q * s2 + 1.0f;
    return 2.0f * s * q;
}

/* sigmoid(x), and u = e^-|x|. */
static inline floats sigmoid(floats x, floats *u)
{
    *u = fast_exp(-magnitude(x));
    return choose(x < 0, *u, (floats){0} + 1.0f) / (1.0f + *u);
}

static inline float dot(const float *a, const float *b, int64_t width)
{
    float total = 0;
    for (int64_t n = 0; n < width; n++)
        total += a[n] * b[n];
    return total;
}

/* row <- e^(row - shift); returns the sum. */
static inline float raise(float *row, float shift, int64_t width)
{
    floats lanes = {0};
    float total = 0;
    for (int64_t n = 0; n < width; n += LANES) {
        floats e = fast_exp(*(floats *)(row + n) - shift);
        *(floats *)(row + n) = e;
        lanes += e;
    }
    for (int j = 0; j < LANES; j++)
        total += lanes[j];
    return total;
}

/* Log of the sum of e^z over the leaves in the set, for a voxel whose P is tiny. */
static float log_sum_inside(const float *z, int64_t stride, const float *set, int64_t channels)
{
    float top = -INFINITY, total = 0;
    for (int64_t n = 0; n < channels; n++)
        if (set[n] > 0 && z[n * stride] > top)
            top = z[n * stride];
    for (int64_t n = 0; n < channels; n++)
        if (set[n] > 0)
            total += expf(z[n * stride] - top);
    return top + logf(total);
}

static void load(float *tile, const float *z, int64_t stride, int64_t count, int64_t channels,
                 int64_t width)
{
    for (int64_t n = 0; n < channels; n++)
        for (int64_t v = 0; v < count; v++)
            tile[v * width + n] = z[n * stride + v];
}

static void find_largest(float *top, const float *z, int64_t stride, int64_t count,
                         int64_t channels)
{
    for (int64_t v = 0; v < count; v++)
        top[v] = z[v];
    for (int64_t n = 1; n < channels; n++)
        for (int64_t v = 0; v < count; v++)
            top[v] = z[n * stride + v] > top[v] ? z[n * stride + v] : top[v];
}

static void store(float *z, const float *tile, int64_t stride, int64_t count, int64_t channels,
                  int64_t width)
{
    for (int64_t n = 0; n < channels; n++)
        for (int64_t v = 0; v < count; v++)
            z[n * stride + v] = tile[v * width + n];
}

static void flush(double *total, float *block, int64_t size)
{
    if (!total)
        return;
    for (int64_t i = 0; i < size; i++) {
        total[i] += block[i];
        block[i] = 0;
    }
}

static float *zeros(int64_t size)
{
    return calloc((size_t)size, sizeof(float));
}

/* Sums by code of p = softmax(z), p^2, -log P and P^2; P is the mass of the code's leaves.
 * `sets` is 1 at the leaves of a code; for the code of all leaves `informed` is 0 and P is 1.
 * Returns 0, or 1 if memory cannot be allocated. */
int softmax_sums(const float *z, const uint8_t *codes, int64_t stride, int64_t first, int64_t last,
                 int64_t channels, int64_t width, int64_t num_codes, const float *sets,
                 const uint8_t *informed, double *probability, double *squared,
                 double *cross_entropy, double *squared_mass, float *log_total, float *log_mass)
{
    int64_t size = num_codes * width;
    float *tile = zeros(TILE * width), *sum1 = zeros(size), *sum2 = zeros(size), top[TILE];
    int failed = !tile || !sum1 || !sum2;
    for (int64_t i = 0; !failed && i < TILE * width; i++)
        tile[i] = -INFINITY; /* padding has probability 0 */
    for (int64_t start = first; !failed && start < last; start += TILE) {
        int64_t count = last - start < TILE ? last - start : TILE;
        find_largest(top, z + start, stride, count, channels);
        load(tile, z + start, stride, count, channels, width);
        for (int64_t i = 0; i < count; i++) {
            float *p = tile + i * width;
            int64_t v = start + i, code = codes[v];
            float total = raise(p, top[i], width), scale = 1.0f / total;
            log_total[v] = top[i] + logf(total);
            if (probability || log_mass)
                for (int64_t n = 0; n < width; n++)
                    p[n] *= scale;
            if (probability)
                for (int64_t n = 0; n < width; n++)
                    sum1[code * width + n] += p[n];
            if (squared)
                for (int64_t n = 0; n < width; n++)
                    sum2[code * width + n] += p[n] * p[n];
            if (log_mass) {
                float inside = 0;
                if (informed[code]) {
                    const float *set = sets + code * width;
                    float mass = dot(p, set, width);
                    inside = logf(mass);
                    if (!(inside >= LOWEST))
                        inside = log_sum_inside(z + v, stride, set, channels) - log_total[v];
                    if (inside > 0)
                        inside = 0;
                    if (inside < LEAST)
                        inside = LEAST;
                }
                log_mass[v] = inside;
                if (cross_entropy)
                    cross_entropy[code] -= inside;
                if (squared_mass)
                    squared_mass[code] += expf(2 * inside);
            }
            for (int64_t n = channels; n < width; n++)
                p[n] = -INFINITY;
        }
        if ((start - first) / TILE % (BLOCK / TILE) == BLOCK / TILE - 1 || start + TILE >= last) {
            flush(probability, sum1, size);
            flush(squared, sum2, size);
        }
    }
    free(tile);
    free(sum1);
    free(sum2);
    return failed;
}

/* Gradient of z, given the slopes of the sums above. */
int softmax_gradient(const float *z, const uint8_t *codes, int64_t stride, int64_t first,
                     int64_t last, int64_t channels, int64_t width, const float *sets,
                     const uint8_t *informed, const float *probability, const float *squared,
                     const float *cross_entropy, const float *squared_mass,
                     const float *log_total, const float *log_mass, float *gradient)
{
    float *tile = zeros(TILE * width), *pull = zeros(width);
    int failed = !tile || !pull;
    for (int64_t i = 0; !failed && i < TILE * width; i++)
        tile[i] = -INFINITY;
    for (int64_t start = first; !failed && start < last; start += TILE) {
        int64_t count = last - start < TILE ? last - start : TILE;
        load(tile, z + start, stride, count, channels, width);
        for (int64_t i = 0; i < count; i++) {
            float *p = tile + i * width, toward = 0;
            int64_t v = start + i, code = codes[v];
            int tiny = 0;
            raise(p, log_total[v], width);
            memset(pull, 0, (size_t)width * sizeof(float));
            if (probability)
                for (int64_t n = 0; n < width; n++)
                    pull[n] += probability[code * width + n];
            if (squared)
                for (int64_t n = 0; n < width; n++)
                    pull[n] += 2 * p[n] * squared[code * width + n];
            if (log_mass && informed[code]) {
                if (cross_entropy)
                    toward -= cross_entropy[code];
                if (squared_mass)
                    toward += 2 * squared_mass[code] * expf(2 * log_mass[v]);
                tiny = log_mass[v] < LOWEST;
                if (!tiny) {
                    float share = toward * expf(-log_mass[v]);
                    for (int64_t n = 0; n < width; n++)
                        pull[n] += share * sets[code * width + n];
                }
            }
            float mean = dot(p, pull, width);
            if (tiny) {
                const float *set = sets + code * width;
                float inside = log_mass[v] + log_total[v];
                for (int64_t n = 0; n < channels; n++) {
                    float q = set[n] > 0 ? expf(z[n * stride + v] - inside) : 0;
                    p[n] = p[n] * (pull[n] - mean) + toward * (q - p[n]);
                }
            } else
                for (int64_t n = 0; n < width; n++)
                    p[n] *= pull[n] - mean;
        }
        store(gradient + start, tile, stride, count, channels, width);
        for (int64_t i = 0; i < count; i++)
            for (int64_t n = channels; n < width; n++)
                tile[i * width + n] = -INFINITY;
    }
    free(tile);
    free(pull);
    return failed;
}

/* Sums by code of y = sigmoid(z), y^2, and of the cross-entropy with `sign`: 1 if the code is
 * inside the class, -1 if they are disjoint, 0 if the class is open and adds nothing. */
int sigmoid_sums(const float *z, const uint8_t *codes, int64_t stride, int64_t first, int64_t last,
                 int64_t channels, int64_t width, int64_t num_codes, const float *sign,
                 double *probability, double *squared, double *cross_entropy)
{
    int64_t size = num_codes * width;
    float *tile = zeros(TILE * width), *sum1 = zeros(size), *sum2 = zeros(size);
    float *sum3 = zeros(size);
    int failed = !tile || !sum1 || !sum2 || !sum3;
    for (int64_t start = first; !failed && start < last; start += TILE) {
        int64_t count = last - start < TILE ? last - start : TILE;
        load(tile, z + start, stride, count, channels, width);
        for (int64_t i = 0; i < count; i++) {
            const float *x = tile + i * width;
            int64_t row = codes[start + i] * width;
            for (int64_t n = 0; n < width; n += LANES) {
                floats u, y = sigmoid(*(const floats *)(x + n), &u);
                floats side = *(const floats *)(sign + row + n);
                floats right = side * *(const floats *)(x + n);
                floats below = choose(right < LEAST, (floats){0} + LEAST, right);
                floats entropy = fast_log1p(u) - choose(below < 0, below, (floats){0});
                *(floats *)(sum1 + row + n) += y;
                *(floats *)(sum2 + row + n) += y * y;
                *(floats *)(sum3 + row + n) += side * side * entropy;
            }
        }
        if ((start - first) / TILE % (BLOCK / TILE) == BLOCK / TILE - 1 || start + TILE >= last) {
            flush(probability, sum1, size);
            flush(squared, sum2, size);
            flush(cross_entropy, sum3, size);
        }
    }
    free(tile);
    free(sum1);
    free(sum2);
    free(sum3);
    return failed;
}

/* Gradient of z, given the slopes of the sums above; slopes that are not requested are 0. */
int sigmoid_gradient(const float *z, const uint8_t *codes, int64_t stride, int64_t first,
                     int64_t last, int64_t channels, int64_t width, const float *sign,
                     const float *probability, const float *squared, const float *cross_entropy,
                     float *gradient)
{
    float *tile = zeros(TILE * width);
    int failed = !tile;
    for (int64_t start = first; !failed && start < last; start += TILE) {
        int64_t count = last - start < TILE ? last - start : TILE;
        load(tile, z + start, stride, count, channels, width);
        for (int64_t i = 0; i < count; i++) {
            float *x = tile + i * width;
            int64_t row = codes[start + i] * width;
            for (int64_t n = 0; n < width; n += LANES) {
                floats u, y = sigmoid(*(const floats *)(x + n), &u);
                floats side = *(const floats *)(sign + row + n);
                floats slope = *(const floats *)(probability + row + n);
                slope += 2.0f * y * *(const floats *)(squared + row + n);
                floats pull = side * side * *(const floats *)(cross_entropy + row + n);
                floats target = choose(side > 0, (floats){0} + 1.0f, (floats){0});
                *(floats *)(x + n) = slope * y * (1.0f - y) + pull * (y - target);
            }
        }
        store(gradient + start, tile, stride, count, channels, width);
    }
    free(tile);
    return failed;
}
