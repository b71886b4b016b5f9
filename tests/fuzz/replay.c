/* Runs a fuzz target over the files of a corpus, for builds without libFuzzer:
 *
 *     fuzz_TARGET CORPUS...                        the files as they are
 *     fuzz_TARGET --mutations N SEED CORPUS...     N inputs made of them
 *     fuzz_TARGET --only NUMBER SEED CORPUS...     one of these again, in this very process
 *
 * CORPUS is a file or a folder. The same files, seed and number make the same input. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"

enum { FILE_LIMIT_BYTES = 16 << 20 };

static int add_file(struct corpus *corpus, const char *path)
{
    struct buffer contents = {0};
    struct error err;
    if (buffer_read_file(path, FILE_LIMIT_BYTES, &contents, &err) < 0) {
        (void)fprintf(stderr, "replaying %s: %s\n", path, err.text);
        return -1;
    }
    corpus->inputs = memory_resize_array(corpus->inputs, corpus->count + 1, sizeof(contents));
    corpus->inputs[corpus->count++] = contents;
    return 0;
}

static int is_visible(const struct dirent *item)
{
    return item->d_name[0] != '.';
}

static int add_folder(struct corpus *corpus, const char *path)
{
    struct dirent **items;
    int count = scandir(path, &items, is_visible, alphasort);
    int result = count < 0 ? -1 : 0;
    if (result < 0) {
        (void)fprintf(stderr, "cannot read the corpus %s: %s\n", path, strerror(errno));
        return result;
    }
    for (int i = 0; i < count; i++) {
        _cleanup_(free_cleanup) char *file = file_join(path, items[i]->d_name);
        result = result < 0 ? result : add_file(corpus, file);
        free(items[i]);
    }
    free(items);
    return result;
}

static int add_all(struct corpus *corpus, char **paths)
{
    for (; *paths; paths++) {
        struct stat status;
        bool is_folder = stat(*paths, &status) == 0 && S_ISDIR(status.st_mode);
        if ((is_folder ? add_folder(corpus, *paths) : add_file(corpus, *paths)) < 0) {
            return -1;
        }
    }
    return corpus->count > 0 ? 0 : -1; /* an empty corpus tests nothing */
}

static void corpus_clear(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++) {
        buffer_clear(&corpus->inputs[i]);
    }
    free(corpus->inputs);
}

static void run(struct bytes input)
{
    /* Memory of exactly the input's size, so that a sanitizer sees a read past the end. */
    _cleanup_(free_cleanup) uint8_t *exact = memory_new(input.size);
    if (input.size > 0) {
        memcpy(exact, input.data, input.size);
    }
    (void)LLVMFuzzerTestOneInput(exact, input.size);
}

static void run_mutation(const struct corpus *corpus, uint64_t seed, uint64_t number)
{
    _cleanup_(buffer_clear) struct buffer input = {0};
    mutate(corpus, seed, number, &input);
    run(buffer_bytes(&input));
}

/* In a process of its own, so that whatever ends it, it is known which input that was. */
static int run_mutations(const struct corpus *corpus, uint64_t seed, uint64_t count)
{
    _Atomic uint64_t *number =
        mmap(NULL, sizeof(*number), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (number == MAP_FAILED) {
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (; *number < count; (*number)++) {
            run_mutation(corpus, seed, *number);
        }
        return 0;
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        return -1;
    }
    if (status != 0) {
        (void)fprintf(stderr,
                      "\nended (wait status 0x%x); again with: --only %" PRIu64 " %" PRIu64 "\n",
                      (unsigned)status, *number, seed);
        return -1;
    }
    (void)printf("%" PRIu64 " inputs, seed %" PRIu64 ", made of %zu\n", count, seed, corpus->count);
    return 0;
}

static int replay(const struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++) {
        run(buffer_bytes(&corpus->inputs[i]));
    }
    (void)printf("%zu inputs replayed\n", corpus->count);
    return 0;
}

int main(int argc, char **argv)
{
    bool is_many = argc > 3 && strcmp(argv[1], "--mutations") == 0;
    bool is_one = argc > 3 && strcmp(argv[1], "--only") == 0;
    bool is_mutated = is_many || is_one;
    uint64_t number = is_mutated ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t seed = is_mutated ? strtoull(argv[3], NULL, 10) : 0;
    struct corpus corpus = {0};
    int result = add_all(&corpus, argv + (is_mutated ? 4 : 1));
    if (result == 0 && is_many) {
        result = run_mutations(&corpus, seed, number);
    } else if (result == 0 && is_one) {
        run_mutation(&corpus, seed, number);
    } else if (result == 0) {
        result = replay(&corpus);
    }
    corpus_clear(&corpus);
    return result == 0 ? 0 : 1;
}
