/*
 * A libmilter child that does what mails ask for, compiled by tests/interop/test_pipelining.py: cc cmilter.c -lmilter
 *
 * cmilter -s SPEC -l LOG [-f] [-n]
 *   -s SPEC  where to listen, as libmilter writes it: unix:PATH or inet:PORT@HOST
 *   -l LOG   file that gets a line for each end of message: "end TOKEN headers=N body_bytes=N"
 *   -f       few callbacks: headers and end of message alone; all other steps are negotiated away
 *   -n       negotiate that headers need no reply
 *
 * A header "X-Want: VERDICT STAGE" asks for a verdict at a stage: fifth (the fifth header), eoh, body (the first chunk)
 * or end. It has to be among the first five. A message that is seen to its end gets a header "X-C-Milter: headers=N
 * body_bytes=N" with what was seen of it, and six further edits, so that an answer is more than one packet.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

struct seen {
    int headers;
    size_t body_bytes;
    char token[64];
    char verdict[16];
    char stage[16];
};

static int log_fd = -1;

static struct seen *seen_in(SMFICTX *ctx) {
    struct seen *seen = smfi_getpriv(ctx);
    if (seen == NULL) {
        seen = calloc(1, sizeof *seen);
        smfi_setpriv(ctx, seen);
    }
    return seen;
}

static void forget(SMFICTX *ctx) {
    memset(seen_in(ctx), 0, sizeof(struct seen));
}

static sfsistat wanted_at(SMFICTX *ctx, const char *stage) {
    struct seen *seen = seen_in(ctx);
    char verdict[sizeof seen->verdict];
    if (strcmp(seen->stage, stage) != 0)
        return SMFIS_CONTINUE;
    strcpy(verdict, seen->verdict);
    if (strcmp(verdict, "skip") == 0)
        return SMFIS_SKIP;
    if (strcmp(verdict, "continue") == 0)
        return SMFIS_CONTINUE;
    forget(ctx); /* libmilter calls nothing at the end of a message that has its verdict */
    if (strcmp(verdict, "accept") == 0)
        return SMFIS_ACCEPT;
    if (strcmp(verdict, "discard") == 0)
        return SMFIS_DISCARD;
    if (strcmp(verdict, "tempfail") == 0)
        return SMFIS_TEMPFAIL;
    if (strcmp(verdict, "code") == 0)
        smfi_setreply(ctx, "554", "5.7.9", (char *)"the C milter says no");
    return SMFIS_REJECT;
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
    (void)argv;
    forget(ctx);
    return SMFIS_CONTINUE;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv) {
    (void)ctx, (void)argv;
    return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx) {
    (void)ctx;
    return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value) {
    struct seen *seen = seen_in(ctx);
    seen->headers++;
    if (strcasecmp(name, "X-Want") == 0)
        sscanf(value, "%15s %15s", seen->verdict, seen->stage);
    if (strcasecmp(name, "X-Test-Token") == 0)
        sscanf(value, "%63s", seen->token);
    return seen->headers == 5 ? wanted_at(ctx, "fifth") : SMFIS_CONTINUE;
}

static sfsistat on_eoh(SMFICTX *ctx) {
    return wanted_at(ctx, "eoh");
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t size) {
    struct seen *seen = seen_in(ctx);
    (void)chunk;
    seen->body_bytes += size;
    return seen->body_bytes == size ? wanted_at(ctx, "body") : SMFIS_CONTINUE;
}

static sfsistat on_end(SMFICTX *ctx) {
    struct seen *seen = seen_in(ctx);
    char line[200], value[100];
    sfsistat verdict;
    int n;
    snprintf(value, sizeof value, "headers=%d body_bytes=%zu", seen->headers, seen->body_bytes);
    n = snprintf(line, sizeof line, "end %s %s\n", seen->token, value);
    if (write(log_fd, line, n) != n)
        return SMFIS_TEMPFAIL;
    verdict = wanted_at(ctx, "end");
    smfi_addheader(ctx, (char *)"X-C-Milter", value);
    for (n = 0; n < 3; n++) {
        smfi_insheader(ctx, 0, (char *)"X-C-Gone", (char *)"soon");
        smfi_chgheader(ctx, (char *)"X-C-Gone", 1, NULL);
    }
    forget(ctx);
    return verdict;
}

static sfsistat on_abort(SMFICTX *ctx) {
    forget(ctx);
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx) {
    free(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

static sfsistat on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
                             unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3) {
    (void)ctx, (void)f0, (void)f2, (void)f3;
    *pf0 = SMFIF_ADDHDRS | SMFIF_CHGHDRS;
    *pf1 = f1 & (SMFIP_NR_HDR | SMFIP_SKIP);
    *pf2 = *pf3 = 0;
    return SMFIS_CONTINUE;
}

static sfsistat on_negotiate_skip(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
                                  unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3) {
    sfsistat result = on_negotiate(ctx, f0, f1, f2, f3, pf0, pf1, pf2, pf3);
    *pf1 &= SMFIP_SKIP;
    return result;
}

int main(int argc, char **argv) {
    unsigned long edits = SMFIF_ADDHDRS | SMFIF_CHGHDRS;
    struct smfiDesc all = {"c", SMFI_VERSION, edits, on_connect, on_text, on_mail, on_rcpt, on_header,
                           on_eoh, on_body, on_end, on_abort, on_close, on_unknown, on_data, on_negotiate_skip};
    struct smfiDesc few = {"c", SMFI_VERSION, edits, NULL, NULL, NULL, NULL, on_header,
                           NULL, NULL, on_end, on_abort, on_close, NULL, NULL, NULL};
    struct smfiDesc *chosen = &all;
    const char *spec = NULL;
    int option;
    while ((option = getopt(argc, argv, "s:l:fn")) != -1)
        switch (option) {
        case 's': spec = optarg; break;
        case 'l': log_fd = open(optarg, O_WRONLY | O_APPEND | O_CREAT, 0644); break;
        case 'f': chosen = &few; break;
        case 'n': all.xxfi_negotiate = on_negotiate; break;
        default: return 2;
        }
    if (spec == NULL || log_fd < 0) {
        fprintf(stderr, "usage: cmilter -s SPEC -l LOG [-f] [-n]\n");
        return 2;
    }
    if (smfi_setconn((char *)spec) != MI_SUCCESS || smfi_register(*chosen) != MI_SUCCESS) {
        fprintf(stderr, "libmilter does not take %s\n", spec);
        return 1;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
