/* The operator `foundry::Int4MatMul` of ONNX Runtime, with the inputs and attributes of its own `MatMulNBits`.
 *
 * The C interface of ONNX Runtime is a table of functions whose places never change, later versions add at its end
 * (onnxruntime_c_api.h). The few that are needed are named here by their places, so that nothing but a compiler is needed. */
#include <stdlib.h>

#include "int4_matmul.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct Status Status;   /* OrtStatus; NULL is success */
typedef struct Value Value;     /* OrtValue */
typedef struct Info Info;       /* OrtKernelInfo */
typedef struct Context Context; /* OrtKernelContext */
typedef struct Shape Shape;     /* OrtTensorTypeAndShapeInfo */
typedef struct Domain Domain;   /* OrtCustomOpDomain */
typedef struct Options Options; /* OrtSessionOptions */
typedef void (*const *Api)(void); /* OrtApi */

typedef struct {
  Api (*get_api)(uint32_t version);
  const char *(*get_version)(void);
} ApiBase;

enum { API_VERSION = 17, FAILED = 1, FLOAT = 1, UINT8 = 2, INT32 = 6, REQUIRED = 0, OPTIONAL = 1, CPU_MEMORY = 0 };

#define CREATE_STATUS(api) ((Status * (*)(int, const char *))(api)[0])
#define CREATE_DOMAIN(api) ((Status * (*)(const char *, Domain **))(api)[26])
#define ADD_OPERATOR(api) ((Status * (*)(Domain *, const void *))(api)[27])
#define ADD_DOMAIN(api) ((Status * (*)(Options *, Domain *))(api)[28])
#define GET_DATA(api) ((Status * (*)(const Value *, void **))(api)[51])
#define GET_RANK(api) ((Status * (*)(const Shape *, size_t *))(api)[61])
#define GET_SIZES(api) ((Status * (*)(const Shape *, int64_t *, size_t))(api)[62])
#define GET_COUNT(api) ((Status * (*)(const Shape *, size_t *))(api)[64])
#define GET_SHAPE(api) ((Status * (*)(const Value *, Shape **))(api)[65])
#define GET_ATTRIBUTE(api) ((Status * (*)(const Info *, const char *, int64_t *))(api)[86])
#define GET_INPUT(api) ((Status * (*)(const Context *, size_t, const Value **))(api)[90])
#define GET_OUTPUT(api) ((Status * (*)(Context *, size_t, const int64_t *, size_t, Value **))(api)[91])
#define RELEASE_STATUS(api) ((void (*)(Status *))(api)[93])
#define RELEASE_SHAPE(api) ((void (*)(Shape *))(api)[99])
#define GET_CONSTANT(api) ((Status * (*)(const Info *, size_t, int *, const Value **))(api)[249])
#define PARALLEL_FOR(api) ((Status * (*)(const Context *, void (*)(void *, size_t), size_t, size_t, void *))(api)[274])

#define TRY(call)                    \
  do {                               \
    Status *status_ = (call);        \
    if (status_) return status_;     \
  } while (0)

enum { INPUT, WEIGHTS, SCALES, ZERO_POINTS, ORDER, BIAS, INPUTS }; /* of MatMulNBits */
enum { MOST_PIECES = 16, LEAST_TILES = 4, PARALLEL_ROWS = 16, DIMENSIONS = 8, LARGEST = 1 << 24 };

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

static Status *read_count(Api api, const Value *value, size_t *count) {
  Shape *shape;
  TRY(GET_SHAPE(api)(value, &shape));
  Status *status = GET_COUNT(api)(shape, count);
  RELEASE_SHAPE(api)(shape);
  return status;
}

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

/* Memory for the rounded rows, kept for the next node: giving it back would cost page faults in every one. */
static void *scratch(size_t size) {
  static _Thread_local struct {
    void *memory;
    size_t size;
  } kept;
  if (kept.size < size) {
    free(kept.memory);
    kept.memory = aligned_alloc(64, size);
    kept.size = kept.memory ? size : 0;
  }
  return kept.memory;
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

static Status *read_sizes(Api api, const Value *value, int64_t *sizes, size_t *rank) {
  Shape *shape;
  TRY(GET_SHAPE(api)(value, &shape));
  Status *status = GET_RANK(api)(shape, rank);
  if (!status && (*rank < 1 || *rank > DIMENSIONS)) status = CREATE_STATUS(api)(FAILED, "Int4MatMul: too many dimensions");
  if (!status) status = GET_SIZES(api)(shape, sizes, *rank);
  RELEASE_SHAPE(api)(shape);
  return status;
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
  if (sizes[rank - 1] != (int64_t)node->weights.depth) return CREATE_STATUS(api)(FAILED, "Int4MatMul: rows of another length");
  for (size_t index = 0; index + 1 < rank; index++) count *= sizes[index];
  sizes[rank - 1] = node->weights.columns;
  TRY(GET_OUTPUT(api)(context, 0, sizes, rank, &output));
  TRY(GET_DATA(api)(input, (void **)&work.inputs));
  TRY(GET_DATA(api)(output, (void **)&work.outputs));
  return count ? run_work(node, context, &work, count) : NULL;
}

/* -- what it is ---------------------------------------------------------------------------------------------------- */

static const char *name(const void *operator) { return (void)operator, "Int4MatMul"; }
static const char *provider(const void *operator) { return (void)operator, "CPUExecutionProvider"; }
static size_t input_count(const void *operator) { return (void)operator, INPUTS; }
static size_t output_count(const void *operator) { return (void)operator, 1; }
static int output_type(const void *operator, size_t index) { return (void)operator, (void)index, FLOAT; }
static int output_need(const void *operator, size_t index) { return (void)operator, (void)index, REQUIRED; }
static int input_need(const void *operator, size_t index) { return (void)operator, index > SCALES ? OPTIONAL : REQUIRED; }
static int input_memory(const void *operator, size_t index) { return (void)operator, (void)index, CPU_MEMORY; }
static int one(const void *operator) { return (void)operator, 1; }
static int any_version(const void *operator) { return (void)operator, 0x7fffffff; }

static int input_type(const void *operator, size_t index) {
  static const int types[INPUTS] = {FLOAT, UINT8, FLOAT, UINT8, INT32, FLOAT};
  return (void)operator, types[index];
}

typedef size_t (*Count)(const void *);
typedef int (*Number)(const void *);
typedef int (*OfIndex)(const void *, size_t);
typedef const char *(*Text)(const void *);

/* OrtCustomOp of the version named in it. */
static const struct {
  uint32_t version;
  void *(*create)(const void *, Api, const Info *);
  Text name, provider;
  OfIndex input_type;
  Count input_count;
  OfIndex output_type;
  Count output_count;
  void (*compute)(void *, Context *);
  void (*destroy)(void *);
  OfIndex input_need, output_need, input_memory;
  Number least_inputs, same_inputs, least_outputs, same_outputs;
  Status *(*create_with_status)(const void *, Api, const Info *, void **);
  Status *(*compute_with_status)(void *, Context *);
  Status *(*infer_shape)(const void *, void *);
  Number first_version, last_version;
} int4_matmul = {
    API_VERSION, NULL, name, provider, input_type, input_count, output_type, output_count, NULL, destroy_node, input_need,
    output_need, input_memory, one, one, one, one, create_node, compute, NULL, one, any_version,
};

/* What ONNX Runtime calls when a session is to know this library. */
EXPORT Status *RegisterCustomOps(Options *options, const ApiBase *base) {
  static Domain *domain; /* lives as long as any session might */
  Api api = base->get_api(API_VERSION);
  if (!kernel_name()) return CREATE_STATUS(api)(FAILED, "Int4MatMul: this processor has neither AVX2 nor AVX-512 VNNI");
  if (!domain) {
    TRY(CREATE_DOMAIN(api)("foundry", &domain));
    TRY(ADD_OPERATOR(api)(domain, &int4_matmul));
  }
  return ADD_DOMAIN(api)(options, domain);
}

/* For Python: the kernel that this processor runs, or NULL. */
EXPORT const char *foundry_kernel_name(void) { return kernel_name(); }
EXPORT int foundry_choose_kernel(const char *name) { return choose_kernel(name); }
