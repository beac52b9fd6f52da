/* Products of float rows with weights of four bits: Y = A * W^T.
 *
 * The weights are those of the operator MatMulNBits of ONNX Runtime: every column of the product has `depth` weights in
 * blocks of `block` neighbours with a scale each, and a zero point each or 8. Rows are rounded to eight bits per block, as
 * that operator does with accuracy_level 4, so that what is left to do are products of whole numbers.
 *
 * A row's values do not depend on the other rows, nor on which of the kernels computes them: to the last bit. */
#ifndef FOUNDRY_INT4_MATMUL_H
#define FOUNDRY_INT4_MATMUL_H

#include <stddef.h>
#include <stdint.h>

enum {
  TILE_COLUMNS = 16, /* of a tile of weights: as many as 512 bits hold sums */
  TILE_ROWS = 8,     /* of a tile of rows: sums and intermediate sums of so many fit into the registers */
  UNIT = 32,         /* weights of a column that are taken at a time */
  UNIT_BYTES = TILE_COLUMNS * UNIT / 2
};

/* Weights in the order in which the kernels read them; made by `pack_weights`. */
typedef struct {
  size_t columns, depth, block; /* `block`: 32, 64, 128 or 256 */
  size_t tiles, blocks;         /* of columns; of a column */
  uint8_t *packed;              /* [tiles][blocks]: block / 32 units, and 16 floats that are the scales */
  uint8_t *zero_points;         /* [tiles][blocks][16]; NULL: all are 8 */
  const float *bias;            /* [columns], or NULL */
} Weights;

/* Rows rounded to eight bits; `quantize_rows` fills it. Those of one tile lie together: [units][rows of the tile][32]. */
typedef struct {
  size_t count, tiles;
  int8_t *values;
  float *scales; /* [tiles][blocks][rows of the tile] */
  int32_t *sums; /* the same shape: of the block's values */
} Rows;

/* "avx512_vnni" or "avx2", the best that the processor has; NULL: none, and nothing else here may be called. */
const char *kernel_name(void);

/* Uses another kernel, for tests; 0 when the processor lacks it. */
int choose_kernel(const char *name);

/* `packed`: [columns][blocks][block / 2], the lower half of a byte first; `scales`: [columns][blocks]; `zero_points`:
 * [columns][half of the blocks], or NULL. They are copied; `bias` is not. 0 when there is no memory. */
int pack_weights(Weights *weights, const uint8_t *packed, const float *scales, const uint8_t *zero_points);
void free_weights(Weights *weights);

/* Bytes of memory that `place_rows` needs for `count` rows. */
size_t rows_size(const Weights *weights, size_t count);

/* Lays `count` rows out in `memory`, which begins at a multiple of 64. */
Rows place_rows(const Weights *weights, size_t count, void *memory);

/* Rounds the rows of one tile; `inputs`: [rows][depth], all of them. */
void quantize_rows(const Weights *weights, const Rows *rows, size_t tile, const float *inputs);

/* The columns of the tiles from `first` on, up to `last`, of all rows; `outputs`: [rows][columns]. */
void multiply(const Weights *weights, const Rows *rows, size_t first, size_t last, float *outputs);

#endif
