/* What each fuzz target defines. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A target may define this too: changes an input in place, as its format asks for, and returns its
 * new size, max_size at most. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* For that: one change that knows no format. Of libFuzzer, or of mutate.c. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
