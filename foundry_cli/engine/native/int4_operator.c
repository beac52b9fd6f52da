/* The operator `foundry::Int4MatMul`, with the inputs and attributes of `MatMulNBits` of ONNX Runtime. */
#include <stdlib.h>

#include "int4_matmul.h"
#include "runtime_api.h"

enum { INPUT, WEIGHTS, SCALES, ZERO_POINTS, ORDER, BIAS, INPUTS }; /* of MatMulNBits */
enum { MOST_PIECES = 64, LEAST_TILES = 4, PARALLEL_ROWS = 16, LARGEST = 1 << 24 };

typedef struct {
  Api api;
  Weights weights;
} Node;

/* -- making a node ------------------------------------------------------------------------------------------------- */

/* An input that is part of the model. */
typedef struct {
  const void *data; /* NULL: it is not there */
  size_t count;
} Constant;

static Status *read_constant(Api api, const Info *info, size_t index, Constant *constant) {
  int is_constant = 0;
  const Value *value = NULL;
  Status *status = GET_CONSTANT(api)(info, index, &is_constant, &value);
  *constant = (Constant){NULL, 0};
  if (status && index > SCALES) { /* beyond the inputs that it has */
    RELEASE_STATUS(api)(status);
    return NULL;
  }
  if (status || !is_constant || !value) return status;
  TRY(read_count(api, value, &constant->count));
  return GET_DATA(api)(value, (void **)&constant->data);
}

/* Whether the constants are as long as the attributes say: a model may be damaged, or hostile. */
static int fits(const Weights *weights, const Constant *inputs) {
  size_t blocks = (weights->depth + weights->block - 1) / weights->block, scales = weights->columns * blocks;
  return inputs[WEIGHTS].data && inputs[WEIGHTS].count == scales * (weights->block / 2) && inputs[SCALES].data &&
         inputs[SCALES].count == scales && !inputs[ORDER].data &&
         (!inputs[ZERO_POINTS].data || inputs[ZERO_POINTS].count == weights->columns * ((blocks + 1) / 2)) &&
         (!inputs[BIAS].data || inputs[BIAS].count == weights->columns);
}

static Status *read_node(Api api, const Info *info, Node *node) {
  int64_t columns, depth, block;
  Constant inputs[INPUTS];
  TRY(GET_ATTRIBUTE(api)(info, "N", &columns));
  TRY(GET_ATTRIBUTE(api)(info, "K", &depth));
  TRY(GET_ATTRIBUTE(api)(info, "block_size", &block));
  for (size_t index = WEIGHTS; index < INPUTS; index++) TRY(read_constant(api, info, index, &inputs[index]));
  if (columns < 1 || columns > LARGEST || depth < 1 || depth > LARGEST || block < UNIT || block > 256 || block & (block - 1))
    return CREATE_STATUS(api)(FAILED, "Int4MatMul: sizes that it has no kernel for");
  node->weights = (Weights){.columns = columns, .depth = depth, .block = block, .bias = inputs[BIAS].data};
  if (!fits(&node->weights, inputs)) return CREATE_STATUS(api)(FAILED, "Int4MatMul: weights of another size");
  if (!pack_weights(&node->weights, inputs[WEIGHTS].data, inputs[SCALES].data, inputs[ZERO_POINTS].data))
    return CREATE_STATUS(api)(FAILED, "Int4MatMul: no memory for the weights");
  return NULL;
}

static Status *create_node(const void *operator, Api api, const Info *info, void **kernel) {
  (void)operator;
  Node *node = calloc(1, sizeof *node);
  if (!node) return CREATE_STATUS(api)(FAILED, "Int4MatMul: no memory");
  node->api = api;
  Status *status = read_node(api, info, node);
  if (status)
    free(node);
  else
    *kernel = node;
  return status;
}

static void destroy_node(void *kernel) {
  free_weights(&((Node *)kernel)->weights);
  free(kernel);
}

/* -- running it ---------------------------------------------------------------------------------------------------- */

typedef struct {
  const Weights *weights;
  const Rows *rows;
  const float *inputs;
  float *outputs;
  size_t pieces;
} Work;

static void quantize_piece(void *work, size_t tile) {
  const Work *all = work;
  quantize_rows(all->weights, all->rows, tile, all->inputs);
}

static void multiply_piece(void *work, size_t piece) {
  const Work *all = work;
  size_t tiles = all->weights->tiles;
  multiply(all->weights, all->rows, piece * tiles / all->pieces, (piece + 1) * tiles / all->pieces, all->outputs);
}

static Status *run_work(const Node *node, const Context *context, Work *work, size_t count) {
  const Weights *weights = &node->weights;
  void *memory = scratch(rows_size(weights, count));
  if (!memory) return CREATE_STATUS(node->api)(FAILED, "Int4MatMul: no memory for the rows");
  Rows rows = place_rows(weights, count, memory);
  work->rows = &rows;
  if (count < PARALLEL_ROWS)
    for (size_t tile = 0; tile < rows.tiles; tile++) quantize_piece(work, tile);
  else
    TRY(PARALLEL_FOR(node->api)(context, quantize_piece, rows.tiles, 0, work));
  work->pieces = weights->tiles / LEAST_TILES < MOST_PIECES ? weights->tiles / LEAST_TILES : MOST_PIECES;
  if (work->pieces > 1) return PARALLEL_FOR(node->api)(context, multiply_piece, work->pieces, 0, work);
  multiply(weights, &rows, 0, weights->tiles, work->outputs);
  return NULL;
}

static Status *compute(void *kernel, Context *context) {
  const Node *node = kernel;
  Api api = node->api;
  const Value *input;
  Value *output;
  int64_t sizes[DIMENSIONS];
  size_t rank, count = 1;
  Work work = {.weights = &node->weights};
  TRY(GET_INPUT(api)(context, INPUT, &input));
  TRY(read_sizes(api, input, sizes, &rank));
  if (!rank || sizes[rank - 1] != (int64_t)node->weights.depth)
    return CREATE_STATUS(api)(FAILED, "Int4MatMul: rows of another length");
  for (size_t index = 0; index + 1 < rank; index++) count *= sizes[index];
  sizes[rank - 1] = node->weights.columns;
  TRY(GET_OUTPUT(api)(context, 0, sizes, rank, &output));
  TRY(GET_DATA(api)(input, (void **)&work.inputs));
  TRY(GET_DATA(api)(output, (void **)&work.outputs));
  return count ? run_work(node, context, &work, count) : NULL;
}

/* -- what it is ---------------------------------------------------------------------------------------------------- */

static const char *name(const void *operator) { return (void)operator, "Int4MatMul"; }
static size_t input_count(const void *operator) { return (void)operator, INPUTS; }
static int input_need(const void *operator, size_t index) { return (void)operator, index > SCALES ? OPTIONAL : REQUIRED; }

static int input_type(const void *operator, size_t index) {
  static const int types[INPUTS] = {FLOAT, UINT8, FLOAT, UINT8, INT32, FLOAT};
  return (void)operator, types[index];
}

const Operator int4_matmul = {
    API_VERSION, NULL, name, on_cpu, input_type, input_count, float_output, one_output, NULL, destroy_node, input_need,
    always_there, in_memory, one, one, one, one, create_node, compute, NULL, one, any_version,
};
