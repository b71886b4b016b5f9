/* What the log and the records tell of attestations: the first, each change, and trouble that goes
 * on once in a while. */
#include "agent/node/state.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { TELL_AGAIN_S = 3600 };

static void append_pcrs(struct buffer *text, uint32_t mask)
{
    const char *separator = "; changed: PCR ";
    for (unsigned i = 0; i < PCR_COUNT; i++) {
        if (mask >> i & 1) {
            _cleanup_(free_cleanup) char *item = text_format("%s%u", separator, i);
            buffer_append_text(text, item);
            separator = ", ";
        }
    }
}

/* The caller frees it. */
static char *detail_of(const struct node *node)
{
    struct buffer text = {0};
    const struct verdict *verdict = &node->verdict;
    if (node->is_attested) {
        _cleanup_(free_cleanup) char *start =
            text_format("EK %s (%s)%s%s%s", node->ek_fingerprint, node->ek_kind,
                        verdict->baseline[0] ? ", baseline " : "", verdict->baseline,
                        node->is_first ? ", seen for the first time" : "");
        buffer_append_text(&text, start);
    } else {
        _cleanup_(free_cleanup) char *start =
            text_format("on_failure %s", node_on_failure_name(node->settings.on_failure));
        buffer_append_text(&text, start);
        append_pcrs(&text, verdict->has_changed_pcrs ? verdict->changed_pcrs : 0);
    }
    buffer_append_u8(&text, 0);
    return (char *)text.data;
}

static bool is_news(const struct node *node)
{
    return !node->is_recorded || node->is_attested != node->recorded_attested ||
           node->reason != node->recorded_reason ||
           node->verdict.changed_pcrs != node->recorded_pcrs ||
           (!node->is_attested && node->checked_at_s - node->recorded_at_s >= TELL_AGAIN_S);
}

void node_record(struct node *node)
{
    if (!is_news(node)) {
        return;
    }
    _cleanup_(free_cleanup) char *detail = detail_of(node);
    const struct audit_event event = {
        .action = node->is_attested ? AUDIT_NODE_ATTESTED : AUDIT_NODE_NOT_ATTESTED,
        .is_failure = !node->is_attested,
        .decider = AUDIT_DECIDER_NODE,
        .decider_id = node->is_attested ? NULL : verdict_reason_name(node->reason),
        .reason = node->is_attested ? NULL : node->reason_text,
        .detail = detail,
    };
    node->is_recorded = true;
    node->recorded_attested = node->is_attested;
    node->recorded_reason = node->reason;
    node->recorded_pcrs = node->verdict.changed_pcrs;
    node->recorded_at_s = node->checked_at_s;
    if (node->config.audit) {
        audit_write(node->config.audit, &event);
    }
    if (node->is_attested) {
        log_info("node attested %s", detail);
    } else {
        log_error("node not attested reason=%s (%s): %s", verdict_reason_name(node->reason), detail,
                  node->reason_text);
    }
}
