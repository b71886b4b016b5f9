/* JWT-SVIDs for a process: each identity is decided by itself, and each token is in the records on
 * the disk before it is given out. A token that the same process has been given already is not
 * recorded again: it gains nothing by it. */
#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

#include "agent/access/record.h"
#include "agent/access/state.h"
#include "agent/svid/jwt_parse.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

static const char asked[] = "FetchJWTSVID";

/* An identity of the caller. */
struct choice {
    struct jwt_fetch *fetch;
    struct entry *entry;
    uint32_t ttl_limit_s;
    bool is_allowed, is_given; /* is_given: an entry still gives it */
    struct outside_wait wait;
};

struct jwt_fetch {
    struct access *access;
    struct account *account;
    struct subject *subject;
    struct text_list audience;
    char *spiffe_id; /* NULL: all */
    struct choice *choices;
    size_t choice_count, questions_open;
    struct error denied; /* of the first that was denied */
    bool is_denied;
    void (*done)(void *user, const struct jwt_svid *svids, size_t count,
                 const struct error *failure);
    void *user;
    /* While the records are written. */
    struct audit_wait commit;
    struct jwt_svid *svids; /* copies */
    size_t svid_count;
};

static void free_fetch(struct jwt_fetch *fetch)
{
    for (size_t i = 0; i < fetch->svid_count; i++) {
        struct jwt_svid *svid = &fetch->svids[i];
        sodium_memzero((char *)svid->token, strlen(svid->token));
        free((char *)svid->token);
        free((char *)svid->spiffe_id);
        free((char *)svid->hint);
    }
    for (size_t i = 0; i < fetch->choice_count; i++) {
        entry_unref(fetch->choices[i].entry);
    }
    free(fetch->svids);
    free(fetch->choices);
    free(fetch->spiffe_id);
    text_list_clear(&fetch->audience);
    subject_unref(fetch->subject);
    account_work_end(fetch->account->accounts, fetch->account);
    free(fetch);
}

static void end(struct jwt_fetch *fetch, const struct error *failure)
{
    if (failure) {
        fetch->done(fetch->user, NULL, 0, failure);
    } else {
        fetch->done(fetch->user, fetch->svids, fetch->svid_count, NULL);
    }
    free_fetch(fetch);
}

/* Recording. */

static bool is_known_token(struct holding *holding, const char *token)
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    uint64_t hash = 0;
    (void)EVP_Digest(token, strlen(token), digest, NULL, EVP_sha256(), NULL);
    memcpy(&hash, digest, sizeof(hash));
    for (size_t i = 0; i < HOLDING_TOKENS; i++) {
        if (holding->tokens[i] == hash) {
            return true;
        }
    }
    memmove(holding->tokens + 1, holding->tokens, sizeof(hash) * (HOLDING_TOKENS - 1));
    holding->tokens[0] = hash;
    return false;
}

/* Their records may be lost: they are recorded anew where they are asked for again. */
static void forget_tokens(const struct jwt_fetch *fetch)
{
    for (size_t i = 0; i < fetch->svid_count; i++) {
        struct holding *holding = subject_holding(fetch->subject, fetch->svids[i].spiffe_id);
        memset(holding->tokens, 0, sizeof(holding->tokens));
    }
}

static const char *entry_id_of(const struct jwt_fetch *fetch, const char *spiffe_id)
{
    for (size_t i = 0; i < fetch->choice_count; i++) {
        const struct choice *choice = &fetch->choices[i];
        if (choice->is_allowed && strcmp(choice->entry->spiffe_id, spiffe_id) == 0) {
            return choice->entry->id;
        }
    }
    return NULL;
}

static void record_token(struct jwt_fetch *fetch, const struct jwt_svid *svid)
{
    struct jwt jwt = {0};
    struct holding *holding = subject_holding(fetch->subject, svid->spiffe_id);
    holding->first_use_s = holding->first_use_s ? holding->first_use_s : clock_now_s();
    if (is_known_token(holding, svid->token)) {
        return;
    }
    bool is_read = jwt_parse(svid->token, &jwt, NULL) == 0;
    const struct audit_credential credential = {
        .kind = "jwt-svid",
        .serial = is_read ? json_string_value(json_object_get(jwt.claims, "jti")) : NULL,
        .key_id = is_read ? jwt.kid : NULL,
        .expires_at_s = svid->expires_at_s,
    };
    const struct audit_event event = {
        .action = AUDIT_ISSUED,
        .spiffe_id = svid->spiffe_id,
        .process = &fetch->subject->process,
        .asked = asked,
        .audience = &fetch->audience,
        .decider = AUDIT_DECIDER_ENTRY,
        .decider_id = entry_id_of(fetch, svid->spiffe_id),
        .credential = &credential,
    };
    record_event(fetch->access, &event);
    jwt_clear(&jwt);
}

/* Deciding. */

static void refuse(struct jwt_fetch *fetch, const char *spiffe_id, enum audit_decider decider,
                   const char *decider_id, const char *reason)
{
    denial_note(fetch->subject, spiffe_id, asked, decider, decider_id, reason);
    if (!fetch->is_denied) {
        fetch->is_denied = true;
        (void)error_set(&fetch->denied, ERROR_PERMISSION_DENIED, "%s: %s", spiffe_id, reason);
    }
}

static void note_denied(struct choice *choice, enum audit_decider decider, const char *decider_id,
                        const char *reason)
{
    choice->is_allowed = false;
    refuse(choice->fetch, choice->entry->spiffe_id, decider, decider_id, reason);
}

static void note_answer(struct choice *choice, const struct policy_answer *answer)
{
    note_denied(choice, answer->decider, answer->decider_id[0] ? answer->decider_id : NULL,
                answer->reason);
}

static void decide_holder(const struct choice *choice, struct policy_answer *ret_answer)
{
    const struct jwt_fetch *fetch = choice->fetch;
    const char *spiffe_id = choice->entry->spiffe_id;
    struct holding *holding = subject_holding(fetch->subject, spiffe_id);
    const struct policy_holder holder = {&fetch->subject->process, holding->first_use_s};
    policy_decide_holder(fetch->access->config.policy, spiffe_id, &holder, clock_now_s(),
                         ret_answer);
    const struct rule *rule = ret_answer->rule;
    holding->has_limits = rule && (rule->max_uses || rule->first_use_within_s);
}

/* An entry may come to mean another identity. */
static bool is_choice(const struct choice *choice, const struct entry *entry)
{
    return strcmp(choice->entry->id, entry->id) == 0 &&
           strcmp(choice->entry->spiffe_id, entry->spiffe_id) == 0;
}

/* Giving out. */

/* Ends the fetch where it is another program's by now. */
static bool is_same_process(struct jwt_fetch *fetch)
{
    struct error error;
    if (subject_is_same(fetch->subject)) {
        return true;
    }
    (void)error_set(&error, ERROR_UNAVAILABLE, "%s; it has to connect again", subject_changed);
    if (peer_is_alive(fetch->subject->peer)) {
        denial_note(fetch->subject, fetch->spiffe_id, asked, AUDIT_DECIDER_PROCESS, NULL,
                    subject_changed);
    }
    watches_end(fetch->subject, subject_changed);
    end(fetch, &error);
    return false;
}

static void note_given(void *user, struct entry *entry)
{
    struct jwt_fetch *fetch = user;
    for (size_t i = 0; i < fetch->choice_count; i++) {
        struct choice *choice = &fetch->choices[i];
        choice->is_given = choice->is_given || is_choice(choice, entry);
    }
}

/* Locks, rules and entries may have changed while the tokens were made. */
static void decide_again(struct jwt_fetch *fetch)
{
    struct access *access = fetch->access;
    manager_each_match(access->config.manager, &fetch->subject->selectors, note_given, fetch);
    for (size_t i = 0; i < fetch->choice_count; i++) {
        struct choice *choice = &fetch->choices[i];
        struct policy_answer answer;
        if (!choice->is_allowed) {
            continue;
        }
        decide_holder(choice, &answer);
        if (!choice->is_given) {
            note_denied(choice, AUDIT_DECIDER_ENTRY, NULL, "no entry gives it any more");
        } else if (!answer.is_allowed) {
            note_answer(choice, &answer);
        }
    }
}

static void give_out(struct jwt_fetch *fetch)
{
    if (!is_same_process(fetch)) {
        return;
    }
    fetch->is_denied = false;
    decide_again(fetch);
    end(fetch, fetch->is_denied ? &fetch->denied : NULL);
}

static void committed(struct audit_wait *wait, const struct error *failure)
{
    struct jwt_fetch *fetch = container_of(wait, struct jwt_fetch, commit);
    if (failure) {
        forget_tokens(fetch);
        end(fetch, failure);
    } else {
        give_out(fetch);
    }
}

static void fetched(void *user, const struct jwt_svid *svids, size_t count,
                    const struct error *failure)
{
    struct jwt_fetch *fetch = user;
    struct audit *audit = fetch->access->config.audit;
    if (failure) {
        end(fetch, failure);
        return;
    }
    fetch->svids = memory_new_array(count, sizeof(*fetch->svids));
    fetch->svid_count = count;
    for (size_t i = 0; i < count; i++) {
        record_token(fetch, &svids[i]);
        fetch->svids[i] = (struct jwt_svid){
            .spiffe_id = memory_copy_text(svids[i].spiffe_id),
            .token = memory_copy_text(svids[i].token),
            .hint = memory_copy_text(svids[i].hint),
            .expires_at_s = svids[i].expires_at_s,
        };
    }
    if (audit) {
        fetch->commit = (struct audit_wait){.done = committed};
        audit_commit(audit, &fetch->commit);
    } else {
        give_out(fetch);
    }
}

/* Choosing. */

static bool choose(void *user, const struct entry *entry, uint32_t *ret_ttl_limit_s)
{
    const struct jwt_fetch *fetch = user;
    for (size_t i = 0; i < fetch->choice_count; i++) {
        const struct choice *choice = &fetch->choices[i];
        if (choice->is_allowed && is_choice(choice, entry)) {
            *ret_ttl_limit_s = choice->ttl_limit_s;
            return true;
        }
    }
    return false;
}

static void settle(struct jwt_fetch *fetch)
{
    struct access *access = fetch->access;
    bool is_any_allowed = false;
    for (size_t i = 0; i < fetch->choice_count; i++) {
        is_any_allowed = is_any_allowed || fetch->choices[i].is_allowed;
    }
    if (fetch->is_denied && !is_any_allowed) {
        end(fetch, &fetch->denied);
        return;
    }
    if (!is_any_allowed) {
        denial_note(fetch->subject, fetch->spiffe_id, asked, AUDIT_DECIDER_ENTRY, NULL,
                    "no entry gives it to this process");
    }
    manager_jwt_fetch(access->config.manager, &fetch->subject->selectors, &fetch->audience, choose,
                      fetched, fetch);
}

static void outside_answered(struct outside_wait *wait, bool is_allowed, const char *reason,
                             uint64_t until_ms)
{
    struct choice *choice = container_of(wait, struct choice, wait);
    struct jwt_fetch *fetch = choice->fetch;
    (void)until_ms;
    if (!is_allowed) {
        note_denied(choice, AUDIT_DECIDER_OUTSIDE, NULL,
                    reason ? reason : "the outside policy does not allow it");
    }
    if (--fetch->questions_open == 0) {
        settle(fetch);
    }
}

static void ask_outside(struct choice *choice)
{
    struct jwt_fetch *fetch = choice->fetch;
    struct outside_question question = subject_question(fetch->subject, choice->entry, "jwt");
    question.audience = &fetch->audience;
    choice->wait = (struct outside_wait){.done = outside_answered};
    fetch->questions_open++;
    outside_ask(fetch->access->config.outside, &question, &choice->wait);
}

static void decide(struct choice *choice)
{
    struct jwt_fetch *fetch = choice->fetch;
    struct access_config *config = &fetch->access->config;
    const char *spiffe_id = choice->entry->spiffe_id;
    struct policy_answer answer;
    decide_holder(choice, &answer);
    if (answer.is_allowed) {
        policy_decide_jwt(config->policy, spiffe_id, &fetch->audience, &choice->ttl_limit_s,
                          &answer);
    }
    choice->is_allowed = answer.is_allowed;
    if (!answer.is_allowed) {
        note_answer(choice, &answer);
    } else if (config->outside) {
        ask_outside(choice);
    }
}

static void add_choice(void *user, struct entry *entry)
{
    struct jwt_fetch *fetch = user;
    if (fetch->spiffe_id && strcmp(fetch->spiffe_id, entry->spiffe_id) != 0) {
        return;
    }
    fetch->choices =
        memory_resize_array(fetch->choices, fetch->choice_count + 1, sizeof(*fetch->choices));
    fetch->choices[fetch->choice_count++] =
        (struct choice){.fetch = fetch, .entry = entry_ref(entry)};
}

static void rule_denied(void *user, const struct entry *entry, const struct error *reason)
{
    struct jwt_fetch *fetch = user;
    if (!fetch->spiffe_id || strcmp(fetch->spiffe_id, entry->spiffe_id) == 0) {
        refuse(fetch, entry->spiffe_id, AUDIT_DECIDER_RULE, NULL, reason->text);
    }
}

static void attested(void *user, const struct text_list *selectors, const struct error *failure)
{
    struct jwt_fetch *fetch = user;
    struct error error;
    if (failure) {
        error = *failure;
        error.code = ERROR_UNAVAILABLE;
        (void)error_prepend(&error, "workload attestation failed");
        denial_note(fetch->subject, NULL, asked, AUDIT_DECIDER_PROCESS, NULL, error.text);
        end(fetch, &error);
        return;
    }
    if (!is_same_process(fetch)) {
        return;
    }
    if (subject_set_selectors(fetch->subject, selectors)) {
        watches_follow_anew(fetch->subject);
    }
    manager_each_match(fetch->access->config.manager, selectors, add_choice, fetch);
    manager_each_denied(fetch->access->config.manager, selectors, rule_denied, fetch);
    fetch->questions_open = 1; /* this function's: answers may come at once */
    for (size_t i = 0; i < fetch->choice_count; i++) {
        decide(&fetch->choices[i]);
    }
    if (--fetch->questions_open == 0) {
        settle(fetch);
    }
}

void access_jwt_fetch(struct access *access, const struct caller *caller,
                      const struct text_list *audience, const char *spiffe_id,
                      void (*done)(void *user, const struct jwt_svid *svids, size_t count,
                                   const struct error *failure),
                      void *user)
{
    struct error error;
    if (account_work_begin(caller->account->accounts, caller->account, &error) < 0) {
        done(user, NULL, 0, &error);
        return;
    }
    struct jwt_fetch *fetch = NEW(struct jwt_fetch);
    *fetch = (struct jwt_fetch){
        .access = access,
        .account = caller->account,
        .subject = subject_get(access, caller->peer),
        .spiffe_id = memory_copy_text(spiffe_id),
        .done = done,
        .user = user,
    };
    text_list_copy(&fetch->audience, audience);
    attestor_attest(access->config.attestor, caller->peer, attested, fetch);
}
