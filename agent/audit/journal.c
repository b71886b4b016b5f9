#include "agent/audit/journal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/audit/sentence.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { WARNING_INTERVAL_MS = 60000, SPIFFE_ID_BYTES = 2048 };

struct audit_journal {
    int socket;
    struct sockaddr_un address;
    struct buffer message; /* memory kept for the next */
    uint64_t dropped, dropped_told, warning_due_ms;
};

int audit_journal_new(const char *path, struct audit_journal **ret_journal, struct error *err)
{
    const char *chosen = path ? path : "/run/systemd/journal/socket";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(chosen) >= sizeof(address.sun_path)) {
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "using the journal's socket %s: the path is longer than %zu bytes", chosen,
                         sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, chosen, strlen(chosen));
    _cleanup_(file_close_cleanup) int descriptor =
        socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return error_set_errno(err, errno, "making a socket for the journal");
    }
    struct audit_journal *journal = NEW(struct audit_journal);
    journal->socket = file_take(&descriptor);
    journal->address = address;
    *ret_journal = journal;
    return 0;
}

void audit_journal_free(struct audit_journal *journal)
{
    (void)close(journal->socket);
    buffer_clear(&journal->message);
    free(journal);
}

/* No value has a newline, so the simple form of the protocol does. */
static void put_field(struct buffer *message, const char *name, const char *value)
{
    buffer_append_text(message, name);
    buffer_append_text(message, value);
    buffer_append_u8(message, '\n');
}

static int send_message(const struct audit_journal *journal)
{
    const struct buffer *message = &journal->message;
    ssize_t sent;
    do {
        sent = sendto(journal->socket, message->data, message->size, MSG_DONTWAIT | MSG_NOSIGNAL,
                      (const struct sockaddr *)&journal->address, sizeof(journal->address));
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : 0;
}

static void count_dropped(struct audit_journal *journal, int reason)
{
    uint64_t now_ms = clock_monotonic_ms();
    journal->dropped++;
    if (now_ms >= journal->warning_due_ms) {
        log_warning("audit records did not reach the journal count=%llu reason=\"%s\"",
                    (unsigned long long)(journal->dropped - journal->dropped_told),
                    strerror(reason));
        journal->dropped_told = journal->dropped;
        journal->warning_due_ms = now_ms + WARNING_INTERVAL_MS;
    }
}

void audit_journal_send(struct audit_journal *journal, const struct audit_event *event,
                        struct bytes body)
{
    struct buffer *message = &journal->message;
    char text[AUDIT_SENTENCE_BYTES];
    buffer_reset(message);
    audit_sentence(event, text);
    text_make_printable(text);
    put_field(message, "MESSAGE=", text);
    put_field(message, "PRIORITY=", event->is_failure ? "4" : "6");
    put_field(message, "SYSLOG_IDENTIFIER=", "signetd");
    put_field(message, "SIGNET_ACTION=", audit_action_name(event->action));
    if (event->spiffe_id) {
        _cleanup_(free_cleanup) char *spiffe_id =
            text_format("%.*s", SPIFFE_ID_BYTES, event->spiffe_id);
        text_make_printable(spiffe_id);
        put_field(message, "SIGNET_SPIFFE_ID=", spiffe_id);
    }
    size_t without_record = message->size;
    buffer_append_text(message, "SIGNET_RECORD={");
    buffer_append(message, body.data, body.size);
    buffer_append_text(message, "}\n");
    if (send_message(journal) == 0) {
        return;
    }
    if (errno == EMSGSIZE) {
        message->size = without_record;
        if (send_message(journal) == 0) {
            return;
        }
    }
    count_dropped(journal, errno);
}

uint64_t audit_journal_dropped(const struct audit_journal *journal)
{
    return journal->dropped;
}
