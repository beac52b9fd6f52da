#include "attention.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { SCORE_ROWS = 8, VALUE_ROWS = 4, VALUE_VECTORS = 4, MOST_QUERIES = 64 };

static size_t least(size_t first, size_t second) { return first < second ? first : second; }

int can_attend(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}

/* Where the first new token of a row is. Rows shorter than the pass are filled up at their end. */
static size_t first_position(const Pass *pass, size_t row) {
  size_t total = (size_t)pass->last[row] + 1;
  return total > pass->tokens ? total - pass->tokens : 0;
}

/* -- new tokens ------------------------------------------------------------------------------------------------------ */

AVX512 static void turn(const Attention *attention, size_t position, const float *from, float scale, float *to) {
  size_t half = attention->rotary / 2;
  const float *cosines = attention->cosines + position * half, *sines = attention->sines + position * half;
  for (size_t index = 0; index < half; index++) {
    float first = from[index], second = from[half + index];
    to[index] = (first * cosines[index] - second * sines[index]) * scale;
    to[half + index] = (first * sines[index] + second * cosines[index]) * scale;
  }
  for (size_t index = attention->rotary; index < attention->head_size; index++) to[index] = from[index] * scale;
}

AVX512 void add_token(const Attention *attention, const Pass *pass, size_t row, size_t token) {
  size_t size = attention->head_size, group = attention->heads / attention->key_heads;
  size_t position = first_position(pass, row) + token, place = row * pass->tokens + token;
  for (size_t head = 0; head < attention->key_heads; head++) {
    size_t memory = ((row * attention->key_heads + head) * pass->capacity + position) * size;
    if (pass->keys_in) {
      turn(attention, position, pass->keys_in + place * pass->key_stride + head * size, 1, pass->keys + memory);
      memcpy(pass->values + memory, pass->values_in + place * pass->key_stride + head * size, size * sizeof(float));
    }
    for (size_t member = 0; member < group; member++) {
      size_t query = ((row * attention->key_heads + head) * pass->tokens + token) * group + member;
      const float *from = pass->queries + place * pass->query_stride + (head * group + member) * size;
      turn(attention, position, from, attention->scale, pass->turned + query * size);
    }
  }
}

/* -- looking at keys ------------------------------------------------------------------------------------------------- */

/* e^x for x up to 0, to two units in the last place: 2^n times a polynomial (Cephes, expf). */
AVX512 INLINE __m512 exponential(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x); /* in this order what is no number stays none */
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  x = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  x = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), x);
  __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
  sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(1.3981999507e-3f));
  sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(8.3334519073e-3f));
  sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(4.1665795894e-2f));
  sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(1.6666665459e-1f));
  sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(5.0000001201e-1f));
  sum = _mm512_fmadd_ps(sum, _mm512_mul_ps(x, x), _mm512_add_ps(x, _mm512_set1_ps(1)));
  return _mm512_scalef_ps(sum, n);
}

/* Sixteen vectors as the columns of sixteen others. */
AVX512 INLINE void transpose(__m512 v[LANES]) {
  __m512 t[LANES];
  UNROLL for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
    __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
    v[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    v[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    v[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    v[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  UNROLL for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(v[i], v[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_f32x4(v[i], v[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_f32x4(v[8 + i], v[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_f32x4(v[8 + i], v[12 + i], 0xdd);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    v[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
    v[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
    v[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
    v[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

/* Sixteen keys from `key` on as [head_size][16]; beyond `last` that one again. */
AVX512 static void load_keys(const float *keys, size_t key, size_t last, size_t size, float *columns) {
  for (size_t part = 0; part < size; part += LANES) {
    __m512 block[LANES];
    UNROLL for (size_t lane = 0; lane < LANES; lane++)
      block[lane] = _mm512_loadu_ps(keys + least(key + lane, last) * size + part);
    transpose(block);
    UNROLL for (size_t lane = 0; lane < LANES; lane++) _mm512_store_ps(columns + (part + lane) * LANES, block[lane]);
  }
}

/* Products of `rows` queries with sixteen keys; `scores`: [rows][KEY_BLOCK]. */
AVX512 INLINE void score(const size_t rows, const float *queries, const float *columns, size_t size, float *scores) {
  __m512 sums[SCORE_ROWS];
  UNROLL for (size_t row = 0; row < rows; row++) sums[row] = _mm512_setzero_ps();
  for (size_t index = 0; index < size; index++) {
    __m512 column = _mm512_load_ps(columns + index * LANES);
    UNROLL for (size_t row = 0; row < rows; row++)
      sums[row] = _mm512_fmadd_ps(column, _mm512_set1_ps(queries[row * size + index]), sums[row]);
  }
  UNROLL for (size_t row = 0; row < rows; row++) _mm512_store_ps(scores + row * KEY_BLOCK, sums[row]);
}

/* Adds `count` values, weighted, to sums of `rows` queries; `vectors` vectors of sixteen from where the pointers are. */
AVX512 INLINE void add_values(const size_t rows, const size_t vectors, const float *weights, const float *values, size_t count,
                              size_t size, float *sums) {
  __m512 all[VALUE_ROWS][VALUE_VECTORS];
  UNROLL for (size_t row = 0; row < rows; row++)
    UNROLL for (size_t part = 0; part < vectors; part++) all[row][part] = _mm512_loadu_ps(sums + row * size + part * LANES);
  for (size_t key = 0; key < count; key++) {
    __m512 value[VALUE_VECTORS];
    UNROLL for (size_t part = 0; part < vectors; part++) value[part] = _mm512_loadu_ps(values + key * size + part * LANES);
    UNROLL for (size_t row = 0; row < rows; row++) {
      __m512 weight = _mm512_set1_ps(weights[row * KEY_BLOCK + key]);
      UNROLL for (size_t part = 0; part < vectors; part++)
        all[row][part] = _mm512_fmadd_ps(weight, value[part], all[row][part]);
    }
  }
  UNROLL for (size_t row = 0; row < rows; row++)
    UNROLL for (size_t part = 0; part < vectors; part++) _mm512_storeu_ps(sums + row * size + part * LANES, all[row][part]);
}

#define SCORE(rows)                                                                                                      \
  AVX512 static void score_##rows(const float *queries, const float *columns, size_t size, float *scores) {              \
    score(rows, queries, columns, size, scores);                                                                         \
  }
SCORE(1) SCORE(2) SCORE(3) SCORE(4) SCORE(5) SCORE(6) SCORE(7) SCORE(8)
static void (*const score_of[])(const float *, const float *, size_t, float *) = {score_1, score_2, score_3, score_4,
                                                                                  score_5, score_6, score_7, score_8};

#define ADD(rows)                                                                                                        \
  AVX512 static void add_##rows(const float *weights, const float *values, size_t count, size_t size, float *sums) {     \
    size_t part = 0;                                                                                                     \
    for (; part + VALUE_VECTORS * LANES <= size; part += VALUE_VECTORS * LANES)                                          \
      add_values(rows, VALUE_VECTORS, weights, values + part, count, size, sums + part);                                 \
    for (; part < size; part += LANES) add_values(rows, 1, weights, values + part, count, size, sums + part);            \
  }
ADD(1) ADD(2) ADD(3) ADD(4)
static void (*const add_of[])(const float *, const float *, size_t, size_t, float *) = {add_1, add_2, add_3, add_4};

/* What is known of a query after some blocks of keys. */
typedef struct {
  float largest, sum;
} Softmax;

/* Turns scores of the first `count` keys of a block into weights, and lets what was there before fade accordingly. */
AVX512 static void weigh(Softmax *softmax, float *scores, size_t count, float *sums, size_t size) {
  __m512 most = _mm512_set1_ps(softmax->largest), total = _mm512_setzero_ps();
  for (size_t key = 0; key < count; key += LANES) {
    __mmask16 valid = count - key < LANES ? (__mmask16)((1u << (count - key)) - 1) : 0xffff;
    most = _mm512_mask_max_ps(most, valid, _mm512_load_ps(scores + key), most); /* what is no number is passed over */
  }
  float largest = _mm512_reduce_max_ps(most);
  for (size_t key = 0; key < KEY_BLOCK; key += LANES) {
    __mmask16 valid = key >= count ? 0 : count - key < LANES ? (__mmask16)((1u << (count - key)) - 1) : 0xffff;
    __m512 weights = _mm512_setzero_ps();
    if (valid) weights = exponential(_mm512_sub_ps(_mm512_load_ps(scores + key), _mm512_set1_ps(largest)));
    weights = _mm512_maskz_mov_ps(valid, weights);
    total = _mm512_add_ps(total, weights);
    _mm512_store_ps(scores + key, weights);
  }
  float fade = largest == softmax->largest ? 1 : _mm512_cvtss_f32(exponential(_mm512_set1_ps(softmax->largest - largest)));
  softmax->sum = softmax->sum * fade + _mm512_reduce_add_ps(total);
  softmax->largest = largest;
  if (fade != 1)
    for (size_t part = 0; part < size; part += LANES)
      _mm512_storeu_ps(sums + part, _mm512_mul_ps(_mm512_loadu_ps(sums + part), _mm512_set1_ps(fade)));
}

/* The block of keys from `key` on, for all queries of a task; `limits`: how many keys each may see. */
AVX512 static void attend_block(const Attention *attention, const float *queries, const size_t *limits, size_t count,
                                const float *keys, const float *values, size_t key, Softmax *softmax, float *sums) {
  _Alignas(64) float columns[MOST_HEAD_SIZE * LANES], scores[MOST_QUERIES][KEY_BLOCK];
  size_t size = attention->head_size, seen = least(limits[count - 1] - key, KEY_BLOCK), start = 0;
  while (start < count && limits[start] <= key) start++; /* these see nothing of it */
  for (size_t part = 0; part < seen; part += LANES) {
    load_keys(keys, key + part, limits[count - 1] - 1, size, columns);
    for (size_t row = start; row < count; row += SCORE_ROWS)
      score_of[least(SCORE_ROWS, count - row) - 1](queries + row * size, columns, size, scores[row] + part);
  }
  for (size_t row = start; row < count; row++)
    weigh(&softmax[row], scores[row], least(limits[row] - key, KEY_BLOCK), sums + row * size, size);
  for (size_t row = start; row < count; row += VALUE_ROWS) {
    /* A weight of zero does not do for keys that a row must not see: zero times what is no number is none. */
    size_t rows = least(VALUE_ROWS, count - row), common = least(limits[row] - key, KEY_BLOCK);
    add_of[rows - 1](scores[row], values + key * size, common, size, sums + row * size);
    for (size_t each = row + 1; each < row + rows; each++) {
      size_t more = least(limits[each] - key, KEY_BLOCK) - common;
      if (more) add_of[0](scores[each] + common, values + (key + common) * size, more, size, sums + each * size);
    }
  }
}

AVX512 void attend(const Attention *attention, const Pass *pass, size_t row, size_t key_head, size_t first, size_t count) {
  size_t size = attention->head_size, group = attention->heads / attention->key_heads;
  size_t memory = row * attention->key_heads + key_head;
  size_t position = first_position(pass, row), limits[MOST_QUERIES];
  const float *queries = pass->turned + (memory * pass->tokens * group + first) * size;
  const float *keys = pass->keys + memory * pass->capacity * size, *values = pass->values + memory * pass->capacity * size;
  float sums[MOST_QUERIES * MOST_HEAD_SIZE];
  Softmax softmax[MOST_QUERIES];
  memset(sums, 0, count * size * sizeof *sums);
  for (size_t query = 0; query < count; query++) {
    limits[query] = position + (first + query) / group + 1;
    softmax[query] = (Softmax){-INFINITY, 0};
  }
  for (size_t key = 0; key < limits[count - 1]; key += KEY_BLOCK)
    attend_block(attention, queries, limits, count, keys, values, key, softmax, sums);
  for (size_t query = 0; query < count; query++) {
    size_t token = (first + query) / group, head = key_head * group + (first + query) % group;
    float *to = pass->outputs + ((row * pass->tokens + token) * attention->heads + head) * size;
    for (size_t index = 0; index < size; index++) to[index] = sums[query * size + index] / softmax[query].sum;
  }
}
