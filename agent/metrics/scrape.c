#include "agent/metrics/scrape.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/metrics/request.h"
#include "lib/base/memory.h"

/* Its last phase takes what the client still sends: closed with that unread, the system would tear
 * down the connection and with it the answer. */
enum phase { PHASE_REQUEST, PHASE_RESPONSE, PHASE_REST, PHASE_CLOSED };

struct scrape {
    struct scrapes *scrapes;
    LIST_ENTRY(scrape) entry;
    int descriptor;
    enum phase phase;
    struct buffer request, response;
    size_t rest_bytes;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
};

static void on_ready(uv_poll_t *poll, int status, int events);
static void on_stall(uv_timer_t *timer);

static void handle_closed(uv_handle_t *handle)
{
    struct scrape *scrape = handle->data;
    struct scrapes *scrapes = scrape->scrapes;
    if (--scrape->open_handles > 0) {
        return;
    }
    buffer_clear(&scrape->request);
    buffer_clear(&scrape->response);
    free(scrape);
    scrapes->count--;
    scrapes->over(scrapes->user);
}

static void scrape_end(struct scrape *scrape)
{
    scrape->phase = PHASE_CLOSED;
    LIST_REMOVE(scrape, entry);
    uv_close((uv_handle_t *)&scrape->poll, handle_closed);
    uv_close((uv_handle_t *)&scrape->timer, handle_closed);
    (void)close(scrape->descriptor);
}

static void enter(struct scrape *scrape, enum phase phase)
{
    scrape->phase = phase;
    (void)uv_poll_start(&scrape->poll, phase == PHASE_RESPONSE ? UV_WRITABLE : UV_READABLE,
                        on_ready);
    if (phase != PHASE_REST) {
        (void)uv_timer_start(&scrape->timer, on_stall, METRICS_STALL_MS, 0);
    }
}

static void respond(struct scrape *scrape, enum metrics_status status, bool is_head)
{
    struct scrapes *scrapes = scrape->scrapes;
    _cleanup_(buffer_clear) struct buffer body = {0};
    if (status == METRICS_STATUS_OK) {
        scrapes->collect(scrapes->user, &body);
    }
    metrics_response(&scrape->response, status, is_head, buffer_bytes(&body));
    enter(scrape, PHASE_RESPONSE);
}

/* Whoever takes the answer too slowly is not waited for; whoever asks too slowly is told. */
static void on_stall(uv_timer_t *timer)
{
    struct scrape *scrape = timer->data;
    if (scrape->phase == PHASE_REQUEST && scrape->request.size > 0) {
        respond(scrape, METRICS_STATUS_TIMEOUT, false);
    } else {
        scrape_end(scrape);
    }
}

static bool must_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static void read_request(struct scrape *scrape)
{
    uint8_t chunk[METRICS_REQUEST_MAX_BYTES];
    bool is_head = false;
    size_t room = sizeof(chunk) - scrape->request.size;
    ssize_t count = recv(scrape->descriptor, chunk, room, 0);
    if (count <= 0) {
        if (count == 0 || !must_wait()) {
            scrape_end(scrape);
        }
        return;
    }
    buffer_append(&scrape->request, chunk, (size_t)count);
    enum metrics_status status = metrics_request_parse(buffer_bytes(&scrape->request), &is_head);
    if (status != METRICS_STATUS_MORE) {
        respond(scrape, status, is_head);
    }
}

static void write_response(struct scrape *scrape)
{
    struct buffer *response = &scrape->response;
    ssize_t count = send(scrape->descriptor, response->data, response->size, MSG_NOSIGNAL);
    if (count < 0) {
        if (!must_wait()) {
            scrape_end(scrape);
        }
        return;
    }
    buffer_consume(response, (size_t)count);
    if (response->size == 0) {
        (void)shutdown(scrape->descriptor, SHUT_WR);
        enter(scrape, PHASE_REST);
    }
}

static void read_rest(struct scrape *scrape)
{
    uint8_t chunk[METRICS_REQUEST_MAX_BYTES];
    ssize_t count = recv(scrape->descriptor, chunk, sizeof(chunk), 0);
    if (count < 0 && must_wait()) {
        return;
    }
    scrape->rest_bytes += count > 0 ? (size_t)count : 0;
    if (count <= 0 || scrape->rest_bytes > METRICS_REQUEST_MAX_BYTES) {
        scrape_end(scrape);
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    static void (*const acts[])(struct scrape * scrape) = {
        [PHASE_REQUEST] = read_request,
        [PHASE_RESPONSE] = write_response,
        [PHASE_REST] = read_rest,
    };
    struct scrape *scrape = poll->data;
    (void)events;
    if (status < 0) {
        scrape_end(scrape);
    } else {
        acts[scrape->phase](scrape);
    }
}

void scrapes_init(struct scrapes *scrapes, uv_loop_t *loop,
                  void (*collect)(void *user, struct buffer *ret_text), void (*over)(void *user),
                  void *user)
{
    *scrapes = (struct scrapes){.loop = loop, .collect = collect, .over = over, .user = user};
    LIST_INIT(&scrapes->open);
}

void scrapes_close(struct scrapes *scrapes)
{
    while (!LIST_EMPTY(&scrapes->open)) {
        scrape_end(LIST_FIRST(&scrapes->open));
    }
}

void scrape_open(struct scrapes *scrapes, int descriptor)
{
    struct scrape *scrape = NEW(struct scrape);
    scrape->scrapes = scrapes;
    scrape->descriptor = descriptor;
    (void)uv_timer_init(scrapes->loop, &scrape->timer);
    (void)uv_poll_init(scrapes->loop, &scrape->poll, descriptor);
    scrape->timer.data = scrape->poll.data = scrape;
    scrape->open_handles = 2;
    scrapes->count++;
    LIST_INSERT_HEAD(&scrapes->open, scrape, entry);
    enter(scrape, PHASE_REQUEST);
}
