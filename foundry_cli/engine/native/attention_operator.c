/* The operator `foundry::GroupQueryAttention`, with the inputs and attributes of that of ONNX Runtime, as far as
 * `attention.py` lets it stand for it: keys and values of all tokens in floats, seen by all that come later. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "runtime_api.h"

#define GET_FLOAT(api) ((Status * (*)(const Info *, const char *, float *))(api)[85])

enum { QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, LAST, TOTAL, COSINES, SINES, INPUTS };
enum { OUTPUT, PRESENT_KEY, PRESENT_VALUE, OUTPUTS };
enum { MOST_QUERIES_OF_TASK = 64, FEW_TASKS = 16, LEAST_QUERIES_OF_TASK = 4, MOST_HEADS = 1024 };

typedef struct {
  Api api;
  int64_t heads, key_heads, turns;
  float scale; /* 0: one over the root of the head size */
} Node;

/* Whether there was no error; it is released. */
static int is_done(Api api, Status *status) {
  if (status) RELEASE_STATUS(api)(status);
  return !status;
}

static Status *create_node(const void *operator, Api api, const Info *info, void **kernel) {
  (void)operator;
  Node node = {.api = api};
  TRY(GET_ATTRIBUTE(api)(info, "num_heads", &node.heads));
  TRY(GET_ATTRIBUTE(api)(info, "kv_num_heads", &node.key_heads));
  if (!is_done(api, GET_ATTRIBUTE(api)(info, "do_rotary", &node.turns))) node.turns = 0;
  if (!is_done(api, GET_FLOAT(api)(info, "scale", &node.scale))) node.scale = 0;
  if (node.key_heads < 1 || node.heads < node.key_heads || node.heads > MOST_HEADS || node.heads % node.key_heads)
    return CREATE_STATUS(api)(FAILED, "GroupQueryAttention: a number of heads that cannot be");
  if (!(*kernel = malloc(sizeof node))) return CREATE_STATUS(api)(FAILED, "GroupQueryAttention: no memory");
  memcpy(*kernel, &node, sizeof node);
  return NULL;
}

static void destroy_node(void *kernel) { free(kernel); }

/* An input: NULL in `value` when it is not there. */
typedef struct {
  const Value *value;
  void *data;
  int64_t sizes[DIMENSIONS];
  size_t rank;
} Input;

static Status *read_input(Api api, const Context *context, size_t index, Input *input) {
  TRY(GET_INPUT(api)(context, index, &input->value));
  if (!input->value) return NULL;
  TRY(read_sizes(api, input->value, input->sizes, &input->rank));
  return GET_DATA(api)(input->value, &input->data);
}

/* Whether the tensors are of the sizes that belong together. */
static int fits(const Node *node, const Input *inputs) {
  const Input *query = &inputs[QUERY], *past = &inputs[PAST_KEY];
  if (query->rank != 3 || past->rank != 4 || inputs[PAST_VALUE].rank != 4) return 0;
  if (memcmp(past->sizes, inputs[PAST_VALUE].sizes, 4 * sizeof(int64_t))) return 0;
  int64_t size = past->sizes[3], width = (inputs[KEY].value ? node->heads : node->heads + 2 * node->key_heads) * size;
  if (past->sizes[0] != query->sizes[0] || past->sizes[1] != node->key_heads || query->sizes[2] != width) return 0;
  if (size < LANES || size > MOST_HEAD_SIZE || size % LANES || !inputs[KEY].value != !inputs[VALUE].value) return 0;
  for (size_t index = KEY; inputs[KEY].value && index <= VALUE; index++) {
    const int64_t *sizes = inputs[index].sizes; /* no tokens: their keys and values are in the past already */
    if (inputs[index].rank != 3 || sizes[0] != query->sizes[0] || sizes[2] != node->key_heads * size) return 0;
    if (sizes[1] != inputs[KEY].sizes[1] || (sizes[1] && sizes[1] != query->sizes[1])) return 0;
  }
  if (!node->turns) return 1;
  const Input *cosines = &inputs[COSINES], *sines = &inputs[SINES];
  return cosines->value && sines->value && cosines->rank == 2 && sines->rank == 2 &&
         !memcmp(cosines->sizes, sines->sizes, 2 * sizeof(int64_t)) && 2 * cosines->sizes[1] <= size;
}

typedef struct {
  Attention attention;
  Pass pass;
  size_t queries_of_task, tasks_of_head;
} Work;

/* Whether all positions are in memory and in the table of angles, and all tokens before the new ones in the past. */
static Status *check_positions(Api api, const Work *work, const Input *last, int64_t total, int64_t past) {
  size_t count;
  TRY(read_count(api, last->value, &count));
  int is_right = count == work->pass.rows;
  for (size_t row = 0; is_right && row < count; row++) {
    int64_t last_new = work->pass.last[row], tokens = work->pass.tokens, farthest = last_new < tokens ? tokens - 1 : last_new;
    int64_t before = work->pass.keys_in ? farthest + 1 - tokens : farthest + 1;
    is_right = last_new >= 0 && last_new < total && farthest < (int64_t)work->pass.capacity && before <= past &&
               (!work->attention.rotary || farthest < (int64_t)work->attention.positions);
  }
  return is_right ? NULL : CREATE_STATUS(api)(FAILED, "GroupQueryAttention: a position that is not in memory");
}

static void add_piece(void *work, size_t index) {
  const Work *all = work;
  add_token(&all->attention, &all->pass, index / all->pass.tokens, index % all->pass.tokens);
}

static void attend_piece(void *work, size_t index) {
  const Work *all = work;
  size_t head = index / all->tasks_of_head, first = index % all->tasks_of_head * all->queries_of_task;
  size_t queries = all->pass.tokens * (all->attention.heads / all->attention.key_heads), count = queries - first;
  if (count > all->queries_of_task) count = all->queries_of_task;
  attend(&all->attention, &all->pass, head / all->attention.key_heads, head % all->attention.key_heads, first, count);
}

/* What was there before, when present and past are not the same memory, and zeros. */
static void copy_past(const Work *work, const Input *past, float *present) {
  size_t size = work->attention.head_size, capacity = past->sizes[2], heads = work->pass.rows * work->attention.key_heads;
  if (past->data == present) return;
  for (size_t head = 0; head < heads; head++) {
    float *to = present + head * work->pass.capacity * size;
    memcpy(to, (const float *)past->data + head * capacity * size, capacity * size * sizeof(float));
    memset(to + capacity * size, 0, (work->pass.capacity - capacity) * size * sizeof(float));
  }
}

static Status *make_outputs(Api api, Context *context, const Input *inputs, Work *work) {
  int64_t sizes[3] = {work->pass.rows, work->pass.tokens, work->attention.heads * work->attention.head_size};
  int64_t present[4] = {work->pass.rows, work->attention.key_heads, work->pass.capacity, work->attention.head_size};
  Value *outputs[OUTPUTS];
  TRY(GET_OUTPUT(api)(context, OUTPUT, sizes, 3, &outputs[OUTPUT]));
  TRY(GET_OUTPUT(api)(context, PRESENT_KEY, present, 4, &outputs[PRESENT_KEY]));
  TRY(GET_OUTPUT(api)(context, PRESENT_VALUE, present, 4, &outputs[PRESENT_VALUE]));
  TRY(GET_DATA(api)(outputs[OUTPUT], (void **)&work->pass.outputs));
  TRY(GET_DATA(api)(outputs[PRESENT_KEY], (void **)&work->pass.keys));
  TRY(GET_DATA(api)(outputs[PRESENT_VALUE], (void **)&work->pass.values));
  copy_past(work, &inputs[PAST_KEY], work->pass.keys);
  copy_past(work, &inputs[PAST_VALUE], work->pass.values);
  return NULL;
}

/* Queries, keys and values: three tensors, or one after the other for each token. */
static void place_inputs(const Node *node, const Input *inputs, Work *work) {
  size_t size = work->attention.head_size;
  work->pass.queries = inputs[QUERY].data;
  work->pass.query_stride = inputs[QUERY].sizes[2];
  work->pass.key_stride = inputs[KEY].value ? node->key_heads * size : work->pass.query_stride;
  work->pass.keys_in = inputs[KEY].value ? inputs[KEY].data : work->pass.queries + node->heads * size;
  work->pass.values_in = inputs[KEY].value ? inputs[VALUE].data : work->pass.keys_in + node->key_heads * size;
  if (inputs[KEY].value && !inputs[KEY].sizes[1]) work->pass.keys_in = NULL;
}

static Status *run_work(const Node *node, const Context *context, Work *work) {
  size_t queries = work->pass.tokens * (node->heads / node->key_heads), heads = work->pass.rows * node->key_heads;
  work->queries_of_task = MOST_QUERIES_OF_TASK;
  while (work->queries_of_task > LEAST_QUERIES_OF_TASK && heads * ((queries - 1) / work->queries_of_task + 1) < FEW_TASKS)
    work->queries_of_task /= 2;
  work->tasks_of_head = (queries - 1) / work->queries_of_task + 1;
  TRY(PARALLEL_FOR(node->api)(context, add_piece, work->pass.rows * work->pass.tokens, 0, work));
  return PARALLEL_FOR(node->api)(context, attend_piece, heads * work->tasks_of_head, 0, work);
}

static Status *compute(void *kernel, Context *context) {
  const Node *node = kernel;
  Api api = node->api;
  Input inputs[INPUTS] = {0};
  for (size_t index = 0; index < INPUTS; index++) TRY(read_input(api, context, index, &inputs[index]));
  if (!fits(node, inputs)) return CREATE_STATUS(api)(FAILED, "GroupQueryAttention: sizes that do not belong together");
  const int64_t *past = inputs[PAST_KEY].sizes;
  size_t totals;
  TRY(read_count(api, inputs[TOTAL].value, &totals));
  if (totals != 1) return CREATE_STATUS(api)(FAILED, "GroupQueryAttention: more than one length");
  int64_t total = *(int32_t *)inputs[TOTAL].data;
  Work work = {
      .attention = {.heads = node->heads, .key_heads = node->key_heads, .head_size = past[3],
                    .rotary = node->turns ? 2 * inputs[COSINES].sizes[1] : 0,
                    .positions = node->turns ? inputs[COSINES].sizes[0] : 0,
                    .scale = node->scale ? node->scale : 1 / sqrtf(past[3]),
                    .cosines = inputs[COSINES].data, .sines = inputs[SINES].data},
      .pass = {.rows = inputs[QUERY].sizes[0], .tokens = inputs[QUERY].sizes[1],
               .capacity = total > past[2] ? total : past[2], .last = inputs[LAST].data},
  };
  place_inputs(node, inputs, &work);
  TRY(check_positions(api, &work, &inputs[LAST], total, past[2]));
  TRY(make_outputs(api, context, inputs, &work));
  if (!work.pass.rows || !work.pass.tokens) return NULL;
  work.pass.turned = scratch(work.pass.rows * work.pass.tokens * node->heads * past[3] * sizeof(float));
  if (!work.pass.turned) return CREATE_STATUS(api)(FAILED, "GroupQueryAttention: no memory for the queries");
  return run_work(node, context, &work);
}

static const char *name(const void *operator) { return (void)operator, "GroupQueryAttention"; }
static size_t input_count(const void *operator) { return (void)operator, INPUTS; }
static size_t output_count(const void *operator) { return (void)operator, OUTPUTS; }

static int input_type(const void *operator, size_t index) {
  return (void)operator, index == LAST || index == TOTAL ? INT32 : FLOAT;
}

static int input_need(const void *operator, size_t index) {
  return (void)operator, index == KEY || index == VALUE || index > TOTAL ? OPTIONAL : REQUIRED;
}

const Operator attention_operator = {
    API_VERSION, NULL, name, on_cpu, input_type, input_count, float_output, output_count, NULL, destroy_node, input_need,
    always_there, in_memory, one, one, one, one, create_node, compute, NULL, one, any_version,
};
