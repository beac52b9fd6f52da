/* The library as ONNX Runtime and Python see it, and what its operators share. */
#include <pthread.h>
#include <stdlib.h>

#include "attention.h"
#include "int4_matmul.h"
#include "runtime_api.h"

#define EXPORT __attribute__((visibility("default")))

Status *read_count(Api api, const Value *value, size_t *count) {
  Shape *shape;
  TRY(GET_SHAPE(api)(value, &shape));
  Status *status = GET_COUNT(api)(shape, count);
  RELEASE_SHAPE(api)(shape);
  return status;
}

Status *read_sizes(Api api, const Value *value, int64_t *sizes, size_t *rank) {
  Shape *shape;
  TRY(GET_SHAPE(api)(value, &shape));
  Status *status = GET_RANK(api)(shape, rank);
  if (!status && *rank > DIMENSIONS) status = CREATE_STATUS(api)(FAILED, "foundry: too many dimensions");
  if (!status) status = GET_SIZES(api)(shape, sizes, *rank);
  RELEASE_SHAPE(api)(shape);
  return status;
}

static pthread_key_t scratch_key;

static void make_scratch_key(void) { pthread_key_create(&scratch_key, free); }

void *scratch(size_t size) {
  static pthread_once_t is_made = PTHREAD_ONCE_INIT;
  static _Thread_local size_t kept;
  pthread_once(&is_made, make_scratch_key);
  void *memory = pthread_getspecific(scratch_key);
  if (kept < size || !memory) {
    free(memory);
    memory = aligned_alloc(64, (size + 63) / 64 * 64);
    kept = memory ? size : 0;
    pthread_setspecific(scratch_key, memory);
  }
  return memory;
}

size_t one_output(const void *operator) { return (void)operator, 1; }
const char *on_cpu(const void *operator) { return (void)operator, "CPUExecutionProvider"; }
int float_output(const void *operator, size_t index) { return (void)operator, (void)index, FLOAT; }
int always_there(const void *operator, size_t index) { return (void)operator, (void)index, REQUIRED; }
int in_memory(const void *operator, size_t index) { return (void)operator, (void)index, CPU_MEMORY; }
int one(const void *operator) { return (void)operator, 1; }
int any_version(const void *operator) { return (void)operator, 0x7fffffff; }

/* What ONNX Runtime calls when a session is to know this library. */
EXPORT Status *RegisterCustomOps(Options *options, const ApiBase *base) {
  static Domain *domain; /* lives as long as any session might */
  static Api owner;      /* the runtime that made it: there may be two in a process */
  Api api = base->get_api(API_VERSION);
  if (!api) return NULL; /* too old for us: the session will say that it does not know the operators */
  if (!kernel_name()) return CREATE_STATUS(api)(FAILED, "foundry: this processor has neither AVX2 nor AVX-512 VNNI");
  if (owner != api) {
    Domain *made;
    TRY(CREATE_DOMAIN(api)("foundry", &made));
    TRY(ADD_OPERATOR(api)(made, &int4_matmul));
    TRY(ADD_OPERATOR(api)(made, &attention_operator));
    domain = made;
    owner = api;
  }
  return ADD_DOMAIN(api)(options, domain);
}

/* For Python: the kernel that this processor runs, or NULL; whether it can do attention, too. */
EXPORT const char *foundry_kernel_name(void) { return kernel_name(); }
EXPORT int foundry_choose_kernel(const char *name) { return choose_kernel(name); }
EXPORT int foundry_can_attend(void) { return can_attend(); }
