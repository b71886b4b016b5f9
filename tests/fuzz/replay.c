/* Runs a fuzz target over files and the files of folders, for builds without libFuzzer. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/bytes.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { INPUT_LIMIT_BYTES = 16 << 20 };

static int replay_file(const char *path)
{
    _cleanup_(buffer_clear) struct buffer contents = {0};
    struct error err;
    if (buffer_read_file(path, INPUT_LIMIT_BYTES, &contents, &err) < 0) {
        (void)fprintf(stderr, "replaying %s: %s\n", path, err.text);
        return -1;
    }
    /* Memory of exactly the input's size, so that a sanitizer sees a read past the end. */
    _cleanup_(free_cleanup) uint8_t *exact = memory_new(contents.size);
    if (contents.size > 0) {
        memcpy(exact, contents.data, contents.size);
    }
    (void)LLVMFuzzerTestOneInput(exact, contents.size);
    return 1;
}

static int replay_folder(const char *path)
{
    int count = 0;
    DIR *folder = opendir(path);
    if (!folder) {
        (void)fprintf(stderr, "cannot read the corpus %s\n", path);
        return -1;
    }
    for (struct dirent *item = readdir(folder); item; item = readdir(folder)) {
        if (item->d_name[0] == '.') {
            continue;
        }
        _cleanup_(free_cleanup) char *file = file_join(path, item->d_name);
        if (replay_file(file) < 0) {
            count = -1;
            break;
        }
        count++;
    }
    (void)closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        struct stat status;
        int count = stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode) ? replay_folder(argv[i])
                                                                           : replay_file(argv[i]);
        if (count < 0) {
            return 1;
        }
        total += count;
    }
    (void)printf("%d inputs replayed\n", total);
    return total > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
