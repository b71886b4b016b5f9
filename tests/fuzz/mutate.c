#include "tests/fuzz/mutate.h"

#include <string.h>

#include "lib/base/macro.h"
#include "tests/fuzz/fuzz.h"

#pragma weak LLVMFuzzerCustomMutator

/* More than the largest frame of the token's RPC. */
enum { INPUT_MAX = 80 << 10, CHANGES_MAX = 4, BITS_MAX = 8, COPIES_MAX = 256, SPLICE_ONE_IN = 8 };

/* splitmix64. LLVMFuzzerMutate has no other place for it. */
static uint64_t random_state;

static uint64_t random_next(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static size_t random_below(size_t limit)
{
    return (size_t)(random_next() % limit);
}

/* From 1 to max, each order of magnitude as likely. */
static size_t random_size(size_t max)
{
    size_t limit = (size_t)2 << random_below(16);
    return 1 + random_below(MIN(limit, max));
}

static size_t flip_bits(uint8_t *data, size_t size, size_t max_size)
{
    (void)max_size;
    for (size_t left = 1 + random_below(BITS_MAX); left > 0; left--) {
        data[random_below(size)] ^= (uint8_t)(1 << random_below(8));
    }
    return size;
}

static size_t set_byte(uint8_t *data, size_t size, size_t max_size)
{
    (void)max_size;
    data[random_below(size)] = (uint8_t)random_next();
    return size;
}

/* A number of 32 bits, big endian, that may be the size of something becomes another. */
static size_t set_size(uint8_t *data, size_t size, size_t max_size)
{
    (void)max_size;
    if (size < sizeof(uint32_t)) {
        return size;
    }
    uint8_t *at = data + random_below(size - sizeof(uint32_t) + 1);
    struct reader reader = reader_of((struct bytes){at, sizeof(uint32_t)});
    uint32_t old = reader_u32(&reader);
    uint32_t rest = (uint32_t)(data + size - at) - (uint32_t)sizeof(uint32_t);
    const uint32_t sizes[] = {0,
                              1,
                              0x7fffffff,
                              0x80000000,
                              0xffffffff,
                              0xfffffff0,
                              old - 1,
                              old + 1,
                              rest - 1,
                              rest,
                              rest + 1,
                              65536,
                              (uint32_t)random_size(rest / 2 + 1)};
    uint32_t chosen = sizes[random_below(ARRAY_SIZE(sizes))];
    for (size_t i = 0; i < sizeof(chosen); i++) {
        at[i] = (uint8_t)(chosen >> (8 * (sizeof(chosen) - 1 - i)));
    }
    return size;
}

static size_t truncate_input(uint8_t *data, size_t size, size_t max_size)
{
    (void)data;
    (void)max_size;
    return random_below(size);
}

static size_t remove_range(uint8_t *data, size_t size, size_t max_size)
{
    (void)max_size;
    size_t start = random_below(size);
    size_t range = random_size(size - start);
    memmove(data + start, data + start + range, size - start - range);
    return size - range;
}

static size_t repeat_range(uint8_t *data, size_t size, size_t max_size)
{
    size_t start = random_below(size);
    size_t range = random_size(size - start);
    for (size_t left = random_size(COPIES_MAX); left > 0 && size + range <= max_size; left--) {
        memmove(data + start + range, data + start, size - start);
        size += range;
    }
    return size;
}

static size_t (*const changes[])(uint8_t *data, size_t size, size_t max_size) = {
    flip_bits, set_byte, set_size, truncate_input, remove_range, repeat_range};

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    return size == 0 ? 0 : changes[random_below(ARRAY_SIZE(changes))](data, size, max_size);
}

/* The start of one input, and of another one the end. */
static void splice(struct buffer *input, const struct buffer *other)
{
    size_t kept = random_below(input->size + 1);
    size_t from = random_below(other->size + 1);
    input->size = kept;
    buffer_append(input, other->data + from, other->size - from);
}

void mutate(const struct corpus *corpus, uint64_t seed, uint64_t number, struct buffer *ret_input)
{
    random_state = seed;
    random_state = random_next() ^ number;
    const struct buffer *chosen = &corpus->inputs[random_below(corpus->count)];
    buffer_append(ret_input, chosen->data, chosen->size);
    if (random_below(SPLICE_ONE_IN) == 0) {
        splice(ret_input, &corpus->inputs[random_below(corpus->count)]);
    }
    size_t size = MIN(ret_input->size, (size_t)INPUT_MAX);
    (void)buffer_extend(ret_input, INPUT_MAX - size);
    for (size_t left = 1 + random_below(CHANGES_MAX); left > 0; left--) {
        size = LLVMFuzzerCustomMutator ? LLVMFuzzerCustomMutator(ret_input->data, size, INPUT_MAX,
                                                                 (unsigned)random_next())
                                       : LLVMFuzzerMutate(ret_input->data, size, INPUT_MAX);
    }
    ret_input->size = size;
}
