/* The little of the C interface of ONNX Runtime that operators need.
 *
 * It is a table of functions whose places never change, later versions add at its end (onnxruntime_c_api.h). They are named
 * here by their places, so that nothing but a compiler is needed. */
#ifndef FOUNDRY_RUNTIME_API_H
#define FOUNDRY_RUNTIME_API_H

#include <stddef.h>
#include <stdint.h>

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

enum { DIMENSIONS = 8 }; /* of a tensor, at most */

typedef size_t (*Count)(const void *);
typedef int (*Number)(const void *);
typedef int (*OfIndex)(const void *, size_t);
typedef const char *(*Text)(const void *);

/* OrtCustomOp of the version named in it. */
typedef struct {
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
} Operator;

extern const Operator int4_matmul, attention_operator;

/* The sizes of a tensor; their number in `rank`, at most DIMENSIONS. */
Status *read_sizes(Api api, const Value *value, int64_t *sizes, size_t *rank);

/* How many numbers a tensor holds. */
Status *read_count(Api api, const Value *value, size_t *count);

/* Memory of the calling thread, kept for the next operator: giving it back would cost page faults in every one. */
void *scratch(size_t size);

/* What all operators here say of themselves. */
size_t one_output(const void *operator);
const char *on_cpu(const void *operator);
int float_output(const void *operator, size_t index);
int always_there(const void *operator, size_t index);
int in_memory(const void *operator, size_t index);
int one(const void *operator);
int any_version(const void *operator);

#endif
