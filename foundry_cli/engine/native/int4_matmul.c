#include "int4_matmul.h"

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "int4_kernels.h"

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline))

enum {
  ALIGNMENT = 64,
  GROUP_BYTES = 256 * 1024 /* of rows that are multiplied with a tile before the next: they stay in the second cache */
};

static size_t least(size_t first, size_t second) { return first < second ? first : second; }
static size_t whole(size_t count, size_t part) { return (count + part - 1) / part; }
static size_t aligned(size_t bytes) { return whole(bytes, ALIGNMENT) * ALIGNMENT; }

/* -- weights ------------------------------------------------------------------------------------------------------- */

static size_t block_bytes(const Weights *weights) { return weights->block / UNIT * UNIT_BYTES + SCALES_BYTES; }

static size_t columns_in(const Weights *weights, size_t tile) {
  return least(TILE_COLUMNS, weights->columns - tile * TILE_COLUMNS);
}

/* What `pack_weights` is given. */
typedef struct {
  const uint8_t *packed;
  const float *scales;
  const uint8_t *zero_points;
} Source;

/* A unit holds, for each of the four words of a column's 16 bytes, that word of all columns. */
static void pack_block(const Weights *weights, const Source *source, size_t tile, size_t block, uint8_t *to) {
  float *to_scales = (float *)(to + weights->block / UNIT * UNIT_BYTES);
  size_t bytes = weights->block / 2;
  for (size_t column = 0; column < columns_in(weights, tile); column++) {
    size_t index = (tile * TILE_COLUMNS + column) * weights->blocks + block;
    const uint8_t *from = source->packed + index * bytes;
    for (size_t word = 0; word < bytes / WORD; word++)
      memcpy(to + (word * TILE_COLUMNS + column) * WORD, from + word * WORD, WORD);
    to_scales[column] = source->scales[index];
  }
}

static void pack_zero_points(const Weights *weights, const Source *source, size_t tile, size_t block, uint8_t *to) {
  for (size_t column = 0; column < columns_in(weights, tile); column++) {
    uint8_t two = source->zero_points[(tile * TILE_COLUMNS + column) * whole(weights->blocks, 2) + block / 2];
    to[column] = block % 2 ? two >> 4 : two & 15;
  }
}

int pack_weights(Weights *weights, const uint8_t *packed, const float *scales, const uint8_t *zero_points) {
  const Source source = {packed, scales, zero_points};
  weights->tiles = whole(weights->columns, TILE_COLUMNS);
  weights->blocks = whole(weights->depth, weights->block);
  size_t count = weights->tiles * weights->blocks, bytes = block_bytes(weights);
  weights->zero_points = zero_points ? calloc(count, TILE_COLUMNS) : NULL;
  weights->packed = aligned_alloc(ALIGNMENT, aligned(count * bytes));
  if (!weights->packed || (zero_points && !weights->zero_points)) {
    free_weights(weights);
    return 0;
  }
  for (size_t tile = 0; tile < weights->tiles; tile++)
    for (size_t block = 0; block < weights->blocks; block++) {
      size_t place = tile * weights->blocks + block;
      if (columns_in(weights, tile) < TILE_COLUMNS) memset(weights->packed + place * bytes, 0, bytes);
      pack_block(weights, &source, tile, block, weights->packed + place * bytes);
      if (zero_points) pack_zero_points(weights, &source, tile, block, weights->zero_points + place * TILE_COLUMNS);
    }
  return 1;
}

void free_weights(Weights *weights) {
  free(weights->packed);
  free(weights->zero_points);
  weights->packed = weights->zero_points = NULL;
}

/* -- rows ---------------------------------------------------------------------------------------------------------- */

static size_t padded_depth(const Weights *weights) { return weights->blocks * weights->block; }

size_t rows_size(const Weights *weights, size_t count) {
  return aligned(count * padded_depth(weights)) + 2 * aligned(count * weights->blocks * sizeof(float));
}

Rows place_rows(const Weights *weights, size_t count, void *memory) {
  Rows rows = {.count = count, .tiles = whole(count, TILE_ROWS), .values = memory};
  rows.scales = (float *)(rows.values + aligned(count * padded_depth(weights)));
  rows.sums = (int32_t *)((uint8_t *)rows.scales + aligned(count * weights->blocks * sizeof(float)));
  return rows;
}

static size_t rows_in(const Rows *rows, size_t tile) { return least(TILE_ROWS, rows->count - tile * TILE_ROWS); }

AVX2 INLINE float largest(const float *values, size_t count) {
  __m256 most = _mm256_setzero_ps();
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (size_t index = 0; index < count; index += 8)
    most = _mm256_max_ps(most, _mm256_andnot_ps(sign, _mm256_loadu_ps(values + index)));
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

AVX2 INLINE __m256i rounded(const float *values, __m256 factor) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values), factor)); /* to the nearest, ties to even */
}

/* 32 values in eight bits, in the order in which the weights lie: of each 8, those with even places first. Their sum. */
AVX2 INLINE int32_t round_unit(int8_t *to, const float *values, __m256 factor) {
  __m256i first = _mm256_packs_epi32(rounded(values, factor), rounded(values + 8, factor));
  __m256i second = _mm256_packs_epi32(rounded(values + 16, factor), rounded(values + 24, factor));
  __m256i bytes = _mm256_packs_epi16(first, second); /* fours: 0 2 4 6 1 3 5 7 */
  bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15, /* of each half */
                                         0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  _mm256_storeu_si256((__m256i *)to, _mm256_shuffle_epi8(bytes, order));
  __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

AVX2 void quantize_rows(const Weights *weights, const Rows *rows, size_t tile, const float *inputs) {
  size_t count = rows_in(rows, tile), before = tile * TILE_ROWS, units = weights->block / UNIT;
  int8_t *values = rows->values + before * padded_depth(weights);
  float *scales = rows->scales + before * weights->blocks;
  int32_t *sums = rows->sums + before * weights->blocks;
  float rest[256];
  for (size_t row = 0; row < count; row++)
    for (size_t block = 0; block < weights->blocks; block++) {
      const float *from = inputs + (before + row) * weights->depth + block * weights->block;
      if ((block + 1) * weights->block > weights->depth) {
        memset(rest, 0, sizeof rest);
        from = memcpy(rest, from, (weights->depth - block * weights->block) * sizeof(float));
      }
      float most = largest(from, weights->block);
      __m256 factor = _mm256_set1_ps(most ? 127.0f / most : 0.0f);
      int32_t sum = 0;
      for (size_t unit = 0; unit < units; unit++)
        sum += round_unit(values + ((block * units + unit) * count + row) * UNIT, from + unit * UNIT, factor);
      scales[block * count + row] = most / 127.0f;
      sums[block * count + row] = sum;
    }
}

/* -- products ------------------------------------------------------------------------------------------------------ */

/* The last tile may have fewer columns than the outputs that a kernel writes. */
static void multiply_last(Kernel kernel, const Tile *tile, size_t rows, size_t columns) {
  float outputs[TILE_ROWS * TILE_COLUMNS];
  Tile apart = *tile;
  apart.outputs = outputs;
  apart.stride = TILE_COLUMNS;
  kernel(&apart);
  for (size_t row = 0; row < rows; row++)
    memcpy(tile->outputs + row * tile->stride, outputs + row * TILE_COLUMNS, columns * sizeof(float));
}

static void add_bias(const Weights *weights, float *outputs, size_t rows, size_t column, size_t columns) {
  for (size_t row = 0; row < rows; row++)
    for (size_t index = 0; index < columns; index++) outputs[row * weights->columns + index] += weights->bias[column + index];
}

static void multiply_tile(const Weights *weights, const Rows *rows, size_t column_tile, size_t row_tile, float *outputs) {
  size_t count = rows_in(rows, row_tile), before = row_tile * TILE_ROWS, column = column_tile * TILE_COLUMNS;
  size_t columns = columns_in(weights, column_tile), place = column_tile * weights->blocks;
  Tile tile = {
      .weights = weights->packed + place * block_bytes(weights),
      .zero_points = weights->zero_points ? weights->zero_points + place * TILE_COLUMNS : NULL,
      .values = rows->values + before * padded_depth(weights),
      .scales = rows->scales + before * weights->blocks,
      .sums = rows->sums + before * weights->blocks,
      .blocks = weights->blocks,
      .units = weights->block / UNIT,
      .outputs = outputs + before * weights->columns + column,
      .stride = weights->columns,
  };
  Kernel kernel = kernel_for(count);
  if (columns < TILE_COLUMNS)
    multiply_last(kernel, &tile, count, columns);
  else
    kernel(&tile);
  if (weights->bias) add_bias(weights, tile.outputs, count, column, columns);
}

void multiply(const Weights *weights, const Rows *rows, size_t first, size_t last, float *outputs) {
  size_t group = GROUP_BYTES / (padded_depth(weights) * TILE_ROWS) + 1;
  for (size_t start = 0; start < rows->tiles; start += group)
    for (size_t column_tile = first; column_tile < last; column_tile++)
      for (size_t row_tile = start; row_tile < least(start + group, rows->tiles); row_tile++)
        multiply_tile(weights, rows, column_tile, row_tile, outputs);
}
