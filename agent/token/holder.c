/* One connection to pkcs11.sock, from accept to its end. */
#include "agent/token/state.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

struct holder {
    struct tokens *tokens;
    struct caller *caller;
    int descriptor; /* until the server has it */
    struct access_watch *watch;
    struct token_connection *connection; /* NULL: not served yet, or closed */
    struct buffer saved;                 /* by an earlier process, until the server has it */
    struct identity_set *set;            /* published last */
    unsigned busy;                       /* callbacks in progress or to come that use the holder */
    bool is_closed;
    LIST_ENTRY(holder) link;
};

/* What a keystore's queue takes turns by; 0 is the agent, and flows of the issuer are hashes of
 * entries, which a pid is unlikely to meet. */
static uint64_t flow_of(const struct peer *peer)
{
    return ((uint64_t)1 << 63) | (uint64_t)peer->pid;
}

static void holder_free(struct holder *holder)
{
    struct tokens *tokens = holder->tokens;
    LIST_REMOVE(holder, link);
    file_close_cleanup(&holder->descriptor);
    buffer_clear(&holder->saved);
    if (holder->set) {
        identity_set_unref(holder->set);
    }
    caller_close(tokens->config.accounts, holder->caller);
    free(holder);
    tokens_holder_gone(tokens);
}

static void holder_leave(struct holder *holder)
{
    holder->busy--;
    if (holder->busy == 0 && holder->is_closed) {
        holder_free(holder);
    }
}

/* Only between busy++ and holder_leave, which frees what has ended. */
static void holder_end(struct holder *holder)
{
    if (holder->is_closed) {
        return;
    }
    holder->is_closed = true;
    if (holder->connection) {
        token_connection_close(take_ptr(holder->connection));
    }
    access_watch_free(take_ptr(holder->watch));
    file_close_cleanup(&holder->descriptor);
}

static void holder_close(struct holder *holder)
{
    holder->busy++;
    holder_end(holder);
    holder_leave(holder);
}

void holders_close(struct tokens *tokens)
{
    struct holder *next;
    for (struct holder *holder = LIST_FIRST(&tokens->holders); holder; holder = next) {
        next = LIST_NEXT(holder, link);
        holder_close(holder);
    }
}

/* As holder_end. */
static void deny(struct holder *holder, const struct error *reason)
{
    decision_denied(&holder->tokens->decisions, holder->caller->peer, "pkcs11", reason);
    holder_end(holder);
}

static void connection_closed(void *user)
{
    holder_close(user);
}

static void log_contents(struct holder *holder, const struct identity_set *set)
{
    _cleanup_(buffer_clear) struct buffer what = {0};
    for (size_t i = 0; i < set->count; i++) {
        const struct svid_x509 *svid = set->svids[i];
        if (svid->key) {
            _cleanup_(free_cleanup) char *item =
                text_format(" id=%s serial=%s", svid->entry->spiffe_id, svid->serial);
            buffer_append_text(&what, item);
        }
    }
    if (what.size > 0) {
        buffer_append_u8(&what, 0);
        decision_granted(&holder->tokens->decisions, holder->caller->peer, "pkcs11",
                         (const char *)what.data + 1);
    }
}

static void publish(struct holder *holder, struct token_view *view, struct token_guard *guard)
{
    struct error err;
    if (holder->connection) {
        token_connection_publish(holder->connection, view, guard);
        return;
    }
    const struct token_connection_config config = {
        .descriptor = file_take(&holder->descriptor),
        .pid = holder->caller->peer->pid,
        .flow = flow_of(holder->caller->peer),
        .view = view,
        .guard = guard,
        .saved = buffer_bytes(&holder->saved),
        .closed = connection_closed,
        .user = holder,
    };
    if (token_server_adopt(holder->tokens->server, &config, &holder->connection, &err) < 0) {
        deny(holder, &err);
    }
    buffer_clear(&holder->saved);
}

/* Also a process without an identity has a token, if an empty one: p11-kit loads it into whatever
 * asks for PKCS#11 on this host. */
static void show_nothing(struct holder *holder, struct token_guard *guard)
{
    struct token_view *view = contents_of_nobody();
    if (holder->set) {
        identity_set_unref(take_ptr(holder->set));
    }
    publish(holder, view, guard);
    token_view_unref(view);
}

static void show(struct holder *holder, struct identity_set *set, struct token_guard *guard)
{
    struct identity_set *before = holder->set;
    holder->set = identity_set_ref(set);
    if (set != before) {
        log_contents(holder, set);
    }
    publish(holder, contents_of_set(holder->tokens, set), guard);
    if (before) {
        identity_set_unref(before);
    }
}

static void offered(void *user, const struct access_offer *offer)
{
    struct holder *holder = user;
    const struct error *refusal = offer->failure ? offer->failure : offer->denied;
    if (holder->is_closed) {
        return;
    }
    holder->busy++;
    if (offer->is_over) {
        deny(holder, offer->failure);
    } else if (!offer->failure && offer->set->count > 0) {
        show(holder, offer->set, offer->guard);
    } else {
        if (refusal) {
            decision_denied(&holder->tokens->decisions, holder->caller->peer, "pkcs11", refusal);
        }
        show_nothing(holder, offer->guard);
    }
    holder_leave(holder);
}

static bool is_on_token(const struct svid_x509 *svid)
{
    return svid->key != NULL;
}

static void refuse(struct tokens *tokens, const struct error *reason)
{
    uint64_t unlogged = 0;
    if (log_gate_opens(&tokens->complaints, &unlogged)) {
        log_info("refused a connection to the PKCS#11 socket: %s (%llu more such refusals not "
                 "logged)",
                 reason->text, (unsigned long long)unlogged);
    }
}

/* Asks what the process may have. */
static void follow(struct holder *holder)
{
    struct error err;
    if (access_watch_new(holder->tokens->config.access, holder->caller, ACCESS_PURPOSE_USE,
                         "PKCS#11", is_on_token, offered, holder, &holder->watch, &err) < 0) {
        refuse(holder->tokens, &err);
        holder_end(holder);
    }
    holder_leave(holder);
}

/* Finds out who connected. NULL, and the descriptor is closed, where nobody is to be served. */
static struct holder *holder_new(struct tokens *tokens, int descriptor)
{
    struct caller *caller = NULL;
    struct error err;
    if (caller_open(tokens->config.accounts, descriptor, &caller, &err) < 0) {
        refuse(tokens, &err);
        file_close_cleanup(&descriptor);
        return NULL;
    }
    struct holder *holder = NEW(struct holder);
    holder->tokens = tokens;
    holder->caller = caller;
    holder->descriptor = descriptor;
    holder->busy = 1;
    LIST_INSERT_HEAD(&tokens->holders, holder, link);
    return holder;
}

void holder_open(struct tokens *tokens, int descriptor)
{
    struct holder *holder = holder_new(tokens, descriptor);
    if (holder) {
        follow(holder);
    }
}

void tokens_restore(struct tokens *tokens, int descriptor, pid_t pid, uint64_t start_time,
                    struct bytes state)
{
    struct holder *holder = holder_new(tokens, descriptor);
    if (!holder) {
        return;
    }
    if (holder->caller->peer->pid != pid || holder->caller->peer->start_time != start_time) {
        holder_end(holder); /* the pid is another process's by now */
        holder_leave(holder);
        return;
    }
    buffer_append(&holder->saved, state.data, state.size);
    holder->caller->is_known = true;
    follow(holder);
}

static void save(struct holder *holder,
                 void (*each)(void *user, int descriptor, const struct peer *peer,
                              struct bytes state),
                 void *user)
{
    struct error err;
    _cleanup_(buffer_clear) struct buffer state = {0};
    int descriptor = -1;
    if (holder->connection &&
        token_connection_save(take_ptr(holder->connection), &descriptor, &state, &err) == 0) {
        each(user, descriptor, holder->caller->peer, buffer_bytes(&state));
    } else if (holder->descriptor >= 0) {
        /* What it may have is not known yet: as it came. */
        each(user, file_take(&holder->descriptor), holder->caller->peer,
             buffer_bytes(&holder->saved));
    }
}

void tokens_save(struct tokens *tokens,
                 void (*each)(void *user, int descriptor, const struct peer *peer,
                              struct bytes state),
                 void *user)
{
    struct holder *holder;
    LIST_FOREACH (holder, &tokens->holders, link) {
        save(holder, each, user);
    }
}
