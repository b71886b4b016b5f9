/* SPIFFE IDs, trust domains and patterns: what is accepted is also consistent. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "agent/spiffe_id.h"
#include "lib/base/memory.h"
#include "lib/base/text.h"

static void check_id(const char *id)
{
    struct error err;
    if (spiffe_id_check(id, &err) < 0) {
        return;
    }
    _cleanup_(free_cleanup) char *trust_domain =
        text_format("%.*s", (int)spiffe_id_trust_domain_size(id), id + strlen("spiffe://"));
    bool has_path = *spiffe_id_path(id) != '\0';
    if (strlen(id) > SPIFFE_ID_MAX_BYTES || trust_domain_check(trust_domain, &err) < 0 ||
        !spiffe_id_is_in(id, trust_domain) || spiffe_pattern_check(id, &err) < 0 ||
        !spiffe_pattern_matches(id, id) || !spiffe_pattern_matches("*", id) ||
        (spiffe_id_check_workload(id, trust_domain, &err) == 0) != has_path) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    _cleanup_(free_cleanup) char *text = memory_new(size + 1);
    memcpy(text, data, size);
    check_id(text);
    (void)trust_domain_check(text, &err);
    if (spiffe_pattern_check(text, &err) == 0) {
        (void)spiffe_pattern_matches(text, "spiffe://example.org/a/b");
    }
    return 0;
}
