/*
 * A libmilter child for the benchmarks: it registers all callbacks and lets everything pass.
 *
 * child -s SPEC [-r MS] [-e MS] [-a] [-f] [-c FILE]
 *   -s SPEC  where to listen, as libmilter writes it: unix:PATH or inet:PORT@HOST
 *   -r MS    sleep at each recipient
 *   -e MS    sleep at the end of each message
 *   -a       add a header at the end of each message
 *   -f       few callbacks: sender, recipient and end of message alone; all other steps are negotiated away
 *   -c FILE  count the ends of messages in the first eight bytes of FILE, which must be there and as long
 *
 * Compiled by benchmarks/children.py: cc -O2 child.c -lmilter -lpthread
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#define BACKLOG 1024 /* libmilter's own is small; Postfix does not try again when a backlog is full */

static long rcpt_ms, eom_ms;
static int adds_header;
static uint64_t *messages;

static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
    while (ms > 0 && nanosleep(&left, &left) != 0)
        ;
}

static sfsistat on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *address) {
    (void)ctx, (void)name, (void)address;
    return SMFIS_CONTINUE;
}

static sfsistat on_text(SMFICTX *ctx, char *text) {
    (void)ctx, (void)text;
    return SMFIS_CONTINUE;
}

static sfsistat on_unknown(SMFICTX *ctx, const char *line) {
    (void)ctx, (void)line;
    return SMFIS_CONTINUE;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv) {
    (void)ctx, (void)argv;
    return SMFIS_CONTINUE;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv) {
    (void)ctx, (void)argv;
    sleep_ms(rcpt_ms);
    return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value) {
    (void)ctx, (void)name, (void)value;
    return SMFIS_CONTINUE;
}

static sfsistat on_step(SMFICTX *ctx) {
    (void)ctx;
    return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t size) {
    (void)ctx, (void)chunk, (void)size;
    return SMFIS_CONTINUE;
}

static sfsistat on_end_of_message(SMFICTX *ctx) {
    sleep_ms(eom_ms);
    if (adds_header && smfi_addheader(ctx, "X-Bench-Child", "seen") != MI_SUCCESS)
        return SMFIS_TEMPFAIL;
    if (messages != NULL)
        __atomic_fetch_add(messages, 1, __ATOMIC_RELAXED);
    return SMFIS_CONTINUE;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void count_in(const char *path) {
    int fd = open(path, O_RDWR);
    if (fd < 0)
        fail(path);
    messages = mmap(NULL, sizeof *messages, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (messages == MAP_FAILED)
        fail(path);
    close(fd);
}

int main(int argc, char **argv) {
    struct smfiDesc all = {"bench", SMFI_VERSION, SMFIF_ADDHDRS, on_connect, on_text, on_mail, on_rcpt, on_header,
                           on_step, on_body, on_end_of_message, on_step, on_step, on_unknown, on_step, NULL};
    struct smfiDesc few = {"bench", SMFI_VERSION, SMFIF_ADDHDRS, NULL, NULL, on_mail, on_rcpt, NULL,
                           NULL, NULL, on_end_of_message, NULL, NULL, NULL, NULL, NULL};
    const char *spec = NULL;
    int option, has_few = 0;
    while ((option = getopt(argc, argv, "s:r:e:afc:")) != -1)
        switch (option) {
        case 's': spec = optarg; break;
        case 'r': rcpt_ms = atol(optarg); break;
        case 'e': eom_ms = atol(optarg); break;
        case 'a': adds_header = 1; break;
        case 'f': has_few = 1; break;
        case 'c': count_in(optarg); break;
        default: return 2;
        }
    if (spec == NULL) {
        fprintf(stderr, "usage: child -s SPEC [-r MS] [-e MS] [-a] [-f] [-c FILE]\n");
        return 2;
    }
    if (smfi_setconn((char *)spec) != MI_SUCCESS || smfi_register(has_few ? few : all) != MI_SUCCESS)
        fail("libmilter");
    smfi_setbacklog(BACKLOG);
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
