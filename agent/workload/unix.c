#include "agent/workload/unix.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/base/memory.h"

struct unix_attestor {
    struct unix_config config;
    struct proc_namespace home;
    struct names *names;
    struct hash_cache *sha256, *verity;
    bool is_sha256_needed;
};

int unix_attestor_new(const struct unix_config *config, struct unix_attestor **ret_attestor,
                      struct error *err)
{
    struct proc_namespace home;
    TRY(proc_own_user_namespace(&home, err));
    struct unix_attestor *attestor = NEW(struct unix_attestor);
    *attestor = (struct unix_attestor){
        .config = *config,
        .home = home,
        .names = names_new(),
        .sha256 = hash_cache_new(config->hash_cache_entries),
        .verity = hash_cache_new(config->hash_cache_entries),
    };
    *ret_attestor = attestor;
    return 0;
}

void unix_attestor_free(struct unix_attestor *attestor)
{
    names_free(attestor->names);
    hash_cache_free(attestor->sha256);
    hash_cache_free(attestor->verity);
    free(attestor);
}

void unix_attestor_set_needs_sha256(struct unix_attestor *attestor, bool is_needed)
{
    attestor->is_sha256_needed = is_needed;
}

void unix_snapshot_clear(struct unix_snapshot *snapshot)
{
    proc_credentials_clear(&snapshot->credentials);
    snapshot->program.is_known = false;
}

int unix_snapshot_read(const struct unix_attestor *attestor, int proc,
                       struct unix_snapshot *ret_snapshot, struct error *err)
{
    proc_read_program(proc, &attestor->home, &ret_snapshot->program);
    TRY(proc_read_credentials(proc, &ret_snapshot->credentials, err));
    if (!proc_program_is_running(proc, &ret_snapshot->program)) {
        unix_snapshot_clear(ret_snapshot);
        return error_set(err, ERROR_ABORTED, "it started another program while it was looked at");
    }
    return 0;
}

void unix_errand_clear(struct unix_errand *errand)
{
    for (size_t i = 0; i < errand->question_count; i++) {
        free(errand->questions[i].name);
    }
    free(errand->questions);
    *errand = (struct unix_errand){0};
}

static void ask(struct unix_errand *errand, enum name_kind kind, uint32_t number)
{
    errand->questions = memory_resize_array(errand->questions, errand->question_count + 1,
                                            sizeof(*errand->questions));
    errand->questions[errand->question_count++] =
        (struct name_question){.kind = kind, .number = number};
}

/* Adds "unix:KIND:TEXT", unless it is none that an entry could have: names and paths may hold
 * anything. */
static void add_text(struct text_list *selectors, const char *kind, const char *text)
{
    _cleanup_(free_cleanup) char *selector = text_format("unix:%s:%s", kind, text);
    if (selector_check(selector, true, NULL) == 0) {
        text_list_add(selectors, selector);
    }
}

/* How an id and its name are called. */
struct id_kinds {
    enum name_kind kind;
    const char *number, *name;
};
static const struct id_kinds user = {NAME_KIND_USER, "uid", "user"};
static const struct id_kinds group = {NAME_KIND_GROUP, "gid", "group"};
static const struct id_kinds supplementary = {NAME_KIND_GROUP, "supplementary_gid",
                                              "supplementary_group"};

static void add_id(struct unix_attestor *attestor, const struct id_kinds *kinds, uint32_t number,
                   struct unix_errand *errand, struct text_list *selectors)
{
    const char *name = NULL;
    char text[16];
    (void)snprintf(text, sizeof(text), "%" PRIu32, number);
    add_text(selectors, kinds->number, text);
    if (!names_find(attestor->names, kinds->kind, number, &name)) {
        ask(errand, kinds->kind, number);
    } else if (name) {
        add_text(selectors, kinds->name, name);
    }
}

/* Adds the digest where it is known, else has it asked for. */
static void add_digest(struct hash_cache *known, const char *kind, const struct file_identity *file,
                       struct digest_errand *errand, struct text_list *selectors)
{
    const char *digest = hash_cache_find(known, file);
    if (!digest && errand->has_answer && file_identity_is_equal(&errand->answer.file, file)) {
        digest = errand->answer.digest;
    }
    if (!digest) {
        errand->is_needed = true;
        errand->file = *file;
    } else if (*digest) {
        add_text(selectors, kind, digest);
    }
}

static void add_digests(struct unix_attestor *attestor, const struct proc_program *program,
                        struct unix_errand *errand, struct text_list *selectors)
{
    uint64_t limit_bytes = attestor->config.sha256_limit_bytes;
    bool is_too_large = limit_bytes > 0 && program->file.size_bytes > limit_bytes;
    errand->sha256.is_needed = errand->verity.is_needed = false;
    errand->sha256_limit_bytes = limit_bytes;
    if (attestor->is_sha256_needed && program->is_known && !is_too_large) {
        add_digest(attestor->sha256, "sha256", &program->file, &errand->sha256, selectors);
    }
    /* It costs one system call, so nobody has to ask for it. */
    if (program->is_known && program->file.is_verity) {
        add_digest(attestor->verity, "fsverity", &program->file, &errand->verity, selectors);
    }
}

bool unix_attestor_find(struct unix_attestor *attestor, const struct unix_snapshot *snapshot,
                        struct unix_errand *errand, struct text_list *ret_selectors)
{
    const struct proc_credentials *credentials = &snapshot->credentials;
    _cleanup_(text_list_clear) struct text_list selectors = {0};
    add_id(attestor, &user, credentials->uid, errand, &selectors);
    add_id(attestor, &group, credentials->gid, errand, &selectors);
    for (size_t i = 0; i < credentials->group_count; i++) {
        add_id(attestor, &supplementary, credentials->groups[i], errand, &selectors);
    }
    if (snapshot->program.path[0]) {
        add_text(&selectors, "path", snapshot->program.path);
    }
    add_digests(attestor, &snapshot->program, errand, &selectors);
    if (errand->question_count > 0 || errand->sha256.is_needed || errand->verity.is_needed) {
        return false;
    }
    *ret_selectors = selectors;
    selectors = (struct text_list){0};
    return true;
}

static void prune_digest(struct hash_cache *known, struct digest_errand *errand)
{
    errand->is_needed = errand->is_needed && !hash_cache_find(known, &errand->file);
}

bool unix_attestor_prune(struct unix_attestor *attestor, struct unix_errand *errand)
{
    size_t kept = 0;
    const char *name;
    for (size_t i = 0; i < errand->question_count; i++) {
        const struct name_question *question = &errand->questions[i];
        if (!names_find(attestor->names, question->kind, question->number, &name)) {
            errand->questions[kept++] = *question;
        }
    }
    errand->question_count = kept;
    prune_digest(attestor->sha256, &errand->sha256);
    prune_digest(attestor->verity, &errand->verity);
    return kept > 0 || errand->sha256.is_needed || errand->verity.is_needed;
}

void unix_errand_run(struct unix_errand *errand, int proc)
{
    for (size_t i = 0; i < errand->question_count; i++) {
        name_ask(&errand->questions[i]);
    }
    if (errand->sha256.is_needed) {
        hash_file(proc, "exe", &errand->sha256.file, errand->sha256_limit_bytes,
                  &errand->sha256.answer);
        errand->sha256.has_answer = true;
    }
    if (errand->verity.is_needed) {
        hash_measure(proc, "exe", &errand->verity.file, &errand->verity.answer);
        errand->verity.has_answer = true;
    }
}

static void learn_digest(struct hash_cache *known, struct digest_errand *errand)
{
    if (errand->is_needed) {
        hash_cache_store(known, &errand->answer);
    }
    errand->is_needed = false;
}

void unix_attestor_learn(struct unix_attestor *attestor, struct unix_errand *errand)
{
    for (size_t i = 0; i < errand->question_count; i++) {
        names_store(attestor->names, &errand->questions[i]);
    }
    errand->question_count = 0;
    learn_digest(attestor->sha256, &errand->sha256);
    learn_digest(attestor->verity, &errand->verity);
}
