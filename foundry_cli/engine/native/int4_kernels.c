#include "int4_kernels.h"

#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")))
#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

INLINE int32_t word_of(const int8_t *values) {
  int32_t word;
  memcpy(&word, values, sizeof word);
  return word;
}

/* `rows` is known when this is compiled, so that all arrays are registers. Weights are taken as they are, 0 to 15: what the
 * zero point takes away is the sum of the row's values times it. */
AVX512 INLINE void multiply_avx512(const size_t rows, const Tile *tile) {
  const uint8_t *weights = tile->weights, *zero_points = tile->zero_points;
  const int8_t *values = tile->values;
  const __m512i low = _mm512_set1_epi8(15);
  __m512 outputs[TILE_ROWS];
  UNROLL for (size_t row = 0; row < rows; row++) outputs[row] = _mm512_setzero_ps();
  for (size_t block = 0; block < tile->blocks; block++) {
    const int32_t *sums = tile->sums + block * rows;
    const float *scales = tile->scales + block * rows;
    __m512i products[TILE_ROWS];
    UNROLL for (size_t row = 0; row < rows; row++)
      products[row] = zero_points ? _mm512_setzero_si512() : _mm512_set1_epi32(-ZERO_POINT * sums[row]);
    for (size_t unit = 0; unit < tile->units; unit++, weights += UNIT_BYTES, values += rows * UNIT) {
      UNROLL for (size_t word = 0; word < WORDS; word++) {
        __m512i both = _mm512_load_si512(weights + word * TILE_COLUMNS * WORD);
        __m512i even = _mm512_and_si512(both, low), odd = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
        const int8_t *from = values + word * 2 * WORD;
        UNROLL for (size_t row = 0; row < rows; row++)
          products[row] = _mm512_dpbusd_epi32(products[row], even, _mm512_set1_epi32(word_of(from + row * UNIT)));
        UNROLL for (size_t row = 0; row < rows; row++)
          products[row] = _mm512_dpbusd_epi32(products[row], odd, _mm512_set1_epi32(word_of(from + row * UNIT + WORD)));
      }
    }
    __m512 weight_scales = _mm512_load_ps((const float *)weights), zeros = _mm512_setzero_ps();
    weights += SCALES_BYTES;
    if (zero_points) {
      zeros = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)zero_points)));
      zero_points += TILE_COLUMNS;
    }
    UNROLL for (size_t row = 0; row < rows; row++) {
      __m512 product = _mm512_cvtepi32_ps(products[row]);
      if (zero_points) product = _mm512_fnmadd_ps(zeros, _mm512_set1_ps((float)sums[row]), product); /* exact: below 2^24 */
      outputs[row] = _mm512_fmadd_ps(_mm512_mul_ps(product, weight_scales), _mm512_set1_ps(scales[row]), outputs[row]);
    }
  }
  UNROLL for (size_t row = 0; row < rows; row++) _mm512_storeu_ps(tile->outputs + row * tile->stride, outputs[row]);
}

AVX2 INLINE __m256i everywhere(const int8_t *values) { return _mm256_set1_epi32(word_of(values)); }

/* One half of the columns at a time; eight products of a unit, at most 15 * 127 * 2 each, fit into sixteen bits. */
AVX2 INLINE void multiply_avx2(const size_t rows, const Tile *tile, size_t half) {
  const uint8_t *weights = tile->weights, *zero_points = tile->zero_points;
  const int8_t *values = tile->values;
  const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256 outputs[TILE_ROWS];
  UNROLL for (size_t row = 0; row < rows; row++) outputs[row] = _mm256_setzero_ps();
  for (size_t block = 0; block < tile->blocks; block++) {
    const int32_t *sums = tile->sums + block * rows;
    const float *scales = tile->scales + block * rows;
    __m256i products[TILE_ROWS];
    UNROLL for (size_t row = 0; row < rows; row++)
      products[row] = zero_points ? _mm256_setzero_si256() : _mm256_set1_epi32(-ZERO_POINT * sums[row]);
    for (size_t unit = 0; unit < tile->units; unit++, weights += UNIT_BYTES, values += rows * UNIT) {
      __m256i small[TILE_ROWS];
      UNROLL for (size_t row = 0; row < rows; row++) small[row] = _mm256_setzero_si256();
      UNROLL for (size_t word = 0; word < WORDS; word++) {
        __m256i both = _mm256_load_si256((const __m256i *)(weights + (word * TILE_COLUMNS + half * 8) * WORD));
        __m256i even = _mm256_and_si256(both, low), odd = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
        const int8_t *from = values + word * 2 * WORD;
        UNROLL for (size_t row = 0; row < rows; row++)
          small[row] = _mm256_add_epi16(small[row], _mm256_maddubs_epi16(even, everywhere(from + row * UNIT)));
        UNROLL for (size_t row = 0; row < rows; row++)
          small[row] = _mm256_add_epi16(small[row], _mm256_maddubs_epi16(odd, everywhere(from + row * UNIT + WORD)));
      }
      UNROLL for (size_t row = 0; row < rows; row++)
        products[row] = _mm256_add_epi32(products[row], _mm256_madd_epi16(small[row], ones));
    }
    __m256 weight_scales = _mm256_load_ps((const float *)weights + half * 8), zeros = _mm256_setzero_ps();
    weights += SCALES_BYTES;
    if (zero_points) {
      zeros = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(zero_points + half * 8))));
      zero_points += TILE_COLUMNS;
    }
    UNROLL for (size_t row = 0; row < rows; row++) {
      __m256 product = _mm256_cvtepi32_ps(products[row]);
      if (zero_points) product = _mm256_fnmadd_ps(zeros, _mm256_set1_ps((float)sums[row]), product);
      outputs[row] = _mm256_fmadd_ps(_mm256_mul_ps(product, weight_scales), _mm256_set1_ps(scales[row]), outputs[row]);
    }
  }
  UNROLL for (size_t row = 0; row < rows; row++) _mm256_storeu_ps(tile->outputs + row * tile->stride + half * 8, outputs[row]);
}

#define KERNELS(rows) \
  AVX512 static void avx512_##rows(const Tile *tile) { multiply_avx512(rows, tile); }  \
  AVX2 static void avx2_##rows(const Tile *tile) {                                     \
    multiply_avx2(rows, tile, 0);                                                      \
    multiply_avx2(rows, tile, 1);                                                      \
  }
KERNELS(1) KERNELS(2) KERNELS(3) KERNELS(4) KERNELS(5) KERNELS(6) KERNELS(7) KERNELS(8)

static const struct {
  const char *name;
  Kernel by_rows[TILE_ROWS];
} sets[] = {
    {"avx512_vnni", {avx512_1, avx512_2, avx512_3, avx512_4, avx512_5, avx512_6, avx512_7, avx512_8}},
    {"avx2", {avx2_1, avx2_2, avx2_3, avx2_4, avx2_5, avx2_6, avx2_7, avx2_8}},
};
enum { SETS = sizeof sets / sizeof *sets };

static int can_run(size_t set) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  return set || (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"));
}

static size_t chosen = SETS; /* `SETS`: not looked at yet, or none */

const char *kernel_name(void) {
  for (size_t set = 0; chosen == SETS && set < SETS; set++)
    if (can_run(set)) chosen = set;
  return chosen == SETS ? NULL : sets[chosen].name;
}

int choose_kernel(const char *name) {
  for (size_t set = 0; set < SETS; set++)
    if (!strcmp(name, sets[set].name) && can_run(set)) {
      chosen = set;
      return 1;
    }
  return 0;
}

Kernel kernel_for(size_t rows) { return sets[chosen].by_rows[rows - 1]; }
