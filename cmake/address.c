/* Options of the sanitizers, linked into signetd when SIGNET_SANITIZE is "address".
 * OpenSSL keeps its random generators in the secure heap, where LeakSanitizer does not look, and
 * frees them only after it has looked: what only they point to seems lost. */
const char *__asan_default_options(void);
const char *__lsan_default_suppressions(void);

/* OpenSSL has no frame pointers: only the slow unwinder finds the name below through it. */
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}

const char *__lsan_default_suppressions(void)
{
    return "leak:EVP_RAND_instantiate\n";
}
