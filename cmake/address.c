/* Options of the sanitizers, for signetd and its tests when SIGNET_SANITIZE is "address". */
#ifdef SIGNET_SLOW_UNWINDER
const char *__asan_default_options(void);
/* Debian's libraries have no frame pointers: only the slow unwinder finds the names below. */
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}
#endif

const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    /* OpenSSL keeps its random generators in the secure heap, where LeakSanitizer does not look,
     * and frees them only after it has looked: what only they point to seems lost.
     * tpm2-tss 4.1 forgets the context of a TCTI that it could not connect. */
    return "leak:EVP_RAND_instantiate\n"
           "leak:Tss2_TctiLdr_Initialize_Ex\n";
}
