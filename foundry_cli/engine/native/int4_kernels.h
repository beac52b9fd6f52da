/* The kernels for one tile of weights and one tile of rows. */
#ifndef FOUNDRY_INT4_KERNELS_H
#define FOUNDRY_INT4_KERNELS_H

#include "int4_matmul.h"

enum {
  WORD = 4,                /* weights of a column whose products with a row are summed by one instruction */
  WORDS = UNIT / 2 / WORD, /* of a unit, two in each: in the lower and in the upper halves of bytes */
  ZERO_POINT = 8,          /* of weights that have none of their own */
  SCALES_BYTES = TILE_COLUMNS * sizeof(float)
};

/* What a kernel needs of one tile of weights and one tile of rows. */
typedef struct {
  const uint8_t *weights, *zero_points;
  const int8_t *values;
  const float *scales;
  const int32_t *sums;
  size_t blocks, units; /* units of a block */
  float *outputs;       /* [rows][16], with `stride` floats from one row to the next */
  size_t stride;
} Tile;

typedef void (*Kernel)(const Tile *);

/* The chosen kernel for tiles of `rows` rows; `kernel_name` must have been called. */
Kernel kernel_for(size_t rows);

#endif
