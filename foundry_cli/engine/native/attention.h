/* Attention of new tokens to those before them, with keys and values of all of them in memory; for AVX-512.
 *
 * What a token gets depends on the tokens before it only, to the last bit: not on how many are computed with it, and not on
 * other conversations. Keys are therefore taken in blocks that begin at multiples of `KEY_BLOCK`, whoever looks at them. */
#ifndef FOUNDRY_ATTENTION_H
#define FOUNDRY_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

enum { LANES = 16, KEY_BLOCK = 128, MOST_HEAD_SIZE = 256 };

/* `head_size`: a multiple of 16. `rotary`: how many numbers of a head are turned by their position, the first half with the
 * second; `cosines` and `sines`: [positions][rotary / 2]. */
typedef struct {
  size_t heads, key_heads, head_size, rotary, positions;
  float scale;
  const float *cosines, *sines;
} Attention;

/* New tokens of some rows. */
typedef struct {
  size_t rows, tokens;    /* new ones of each row */
  size_t capacity;        /* tokens for which a row of keys and values has room */
  const int32_t *last;    /* [rows]: the position of the last new token */
  const float *queries, *keys_in, *values_in; /* [rows][tokens], with so many floats from one token to the next; no keys:
                                                 those of the new tokens are in memory already */
  size_t query_stride, key_stride;
  float *keys, *values;   /* [rows][key_heads][capacity][head_size]; those of the new tokens are added */
  float *turned;          /* [rows][key_heads][tokens * group][head_size]: queries, turned and scaled; for work */
  float *outputs;         /* [rows][tokens][heads * head_size] */
} Pass;

/* Whether this processor can do it. */
int can_attend(void);

/* Adds keys and values of one new token of one row, and prepares its queries. */
void add_token(const Attention *attention, const Pass *pass, size_t row, size_t token);

/* Lets `count` queries from `first` on look at the keys of one head; queries are numbered [token][head of the group]. */
void attend(const Attention *attention, const Pass *pass, size_t row, size_t key_head, size_t first, size_t count);

#endif
