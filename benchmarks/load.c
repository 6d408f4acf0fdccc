/*
 * SMTP load for the benchmarks: so many mails over so many sessions at once, in one process that costs next to nothing.
 *
 * load PORT SESSIONS MESSAGES fresh|kept FILE
 *   fresh  a connection per message      kept  each session sends all its messages over one connection
 *   FILE   what goes between DATA and the final dot: CRLF lines, dots stuffed
 *
 * No pipelining of SMTP commands, as smtp-source. A message's latency runs from its first step (connect, or MAIL on a
 * kept connection) to the answer to its end. Prints one JSON object; ends with 1 at the first answer that refuses.
 * Compiled by benchmarks/load.py.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192
#define PATIENCE_MS 60000

enum step { GREETING, EHLO, MAIL, RCPT, DATA, CONTENT, QUIT };

static const char *const commands[] = {
    [EHLO] = "EHLO client.test\r\n",
    [MAIL] = "MAIL FROM:<a@sender.test>\r\n",
    [RCPT] = "RCPT TO:<u@discard.test>\r\n",
    [DATA] = "DATA\r\n",
    [QUIT] = "QUIT\r\n",
};

struct session {
    int fd, is_writing;
    enum step step;
    double started;
    const char *out;
    size_t out_left;
    char line[LINE_MAX_BYTES];
    size_t line_size;
};

static int port, is_kept, poller, alive;
static long messages_left, done;
static double *latencies_ms;
static char *content;
static size_t content_size;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what, const char *why) {
    fprintf(stderr, "load: %s: %s\n", what, why);
    exit(1);
}

static void watch(struct session *s, int operation) {
    struct epoll_event event = {EPOLLIN | (s->is_writing ? EPOLLOUT : 0), {.ptr = s}};
    if (epoll_ctl(poller, operation, s->fd, &event) != 0)
        fail("epoll", strerror(errno));
}

static void go_on_writing(struct session *s) {
    while (s->out_left > 0) {
        ssize_t sent = send(s->fd, s->out, s->out_left, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
            fail("send", strerror(errno));
        s->out += sent;
        s->out_left -= sent;
    }
    if (s->is_writing != (s->out_left > 0)) {
        s->is_writing = s->out_left > 0;
        watch(s, EPOLL_CTL_MOD);
    }
}

static void say(struct session *s, enum step step) {
    s->step = step;
    s->out = step == CONTENT ? content : commands[step];
    s->out_left = step == CONTENT ? content_size : strlen(s->out);
    go_on_writing(s);
}

/* A session takes its (next) message off the heap before it connects, so that exactly as many are sent as asked. */
static void connect_anew(struct session *s) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    messages_left--;
    s->started = now();
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect", strerror(errno));
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    s->step = GREETING;
    s->is_writing = 0;
    s->line_size = s->out_left = 0;
    watch(s, EPOLL_CTL_ADD);
}

static void close_session(struct session *s) {
    close(s->fd);
    if (!is_kept && messages_left > 0)
        connect_anew(s);
    else
        alive--;
}

static void end_message(struct session *s) {
    latencies_ms[done++] = (now() - s->started) * 1000;
    s->started = now();
    if (is_kept && messages_left > 0) {
        messages_left--;
        say(s, MAIL);
    } else
        say(s, QUIT);
}

static void take_answer(struct session *s, const char *line) {
    char wanted = s->step == DATA ? '3' : '2';
    if (line[0] != wanted)
        fail("refused", line);
    switch (s->step) {
    case CONTENT: end_message(s); break;
    case QUIT: close_session(s); break;
    default: say(s, s->step + 1); break;
    }
}

static void read_some(struct session *s) {
    ssize_t got = recv(s->fd, s->line + s->line_size, LINE_MAX_BYTES - s->line_size - 1, 0);
    char *end;
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        fail("receive", got == 0 ? "connection closed" : strerror(errno));
    s->line_size += got;
    s->line[s->line_size] = 0;
    while ((end = strstr(s->line, "\r\n")) != NULL) { /* one answer at a time is due; only its last line counts */
        char line[LINE_MAX_BYTES];
        size_t size = end - s->line;
        memcpy(line, s->line, size);
        line[size] = 0;
        s->line_size -= size + 2;
        memmove(s->line, end + 2, s->line_size + 1);
        if (size < 4 || line[3] != '-') {
            take_answer(s, line);
            return;
        }
    }
}

static void read_content(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail(path, strerror(errno));
    fseek(file, 0, SEEK_END);
    content_size = ftell(file);
    rewind(file);
    content = malloc(content_size + 3);
    if (fread(content, 1, content_size, file) != content_size)
        fail(path, "short read");
    memcpy(content + content_size, ".\r\n", 3);
    content_size += 3;
    fclose(file);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(int hundredths) {
    long index = (done * hundredths + 99) / 100 - 1;
    return latencies_ms[index < 0 ? 0 : index];
}

static void report(double wall_s) {
    struct rusage used;
    double cpu_s;
    getrusage(RUSAGE_SELF, &used);
    cpu_s = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    qsort(latencies_ms, done, sizeof *latencies_ms, by_size);
    printf("{\"messages\": %ld, \"wall_s\": %.6f, \"cpu_s\": %.6f, \"p50_ms\": %.3f, \"p95_ms\": %.3f, \"max_ms\": %.3f}\n",
           done, wall_s, cpu_s, percentile(50), percentile(95), percentile(100));
}

int main(int argc, char **argv) {
    struct epoll_event events[256];
    double started;
    int count, i;
    if (argc != 6)
        fail("usage", "load PORT SESSIONS MESSAGES fresh|kept FILE");
    port = atoi(argv[1]);
    alive = atoi(argv[2]);
    messages_left = atol(argv[3]);
    is_kept = strcmp(argv[4], "kept") == 0;
    read_content(argv[5]);
    if (alive > messages_left)
        alive = messages_left;
    latencies_ms = calloc(messages_left, sizeof *latencies_ms);
    poller = epoll_create1(0);
    started = now();
    for (i = alive; i > 0; i--)
        connect_anew(calloc(1, sizeof(struct session)));
    while (alive > 0) {
        count = epoll_wait(poller, events, 256, PATIENCE_MS);
        if (count <= 0)
            fail("wait", "no answer for a minute");
        for (i = 0; i < count; i++) {
            struct session *s = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                go_on_writing(s);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_some(s);
        }
    }
    report(now() - started);
    return 0;
}
