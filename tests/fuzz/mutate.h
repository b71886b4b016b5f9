/* Inputs made of those of a corpus, for builds without libFuzzer. */
#pragma once

#include "lib/base/bytes.h"

struct corpus {
    struct buffer *inputs;
    size_t count;
};

/* One input; it depends on corpus, seed and number alone. */
void mutate(const struct corpus *corpus, uint64_t seed, uint64_t number, struct buffer *ret_input);
