/* udprelay PORT: what a relay of S5B datagrams costs in C with recvmmsg and sendmmsg, and no more.
 *
 * The reference for the benchmark: it pairs whatever initializes the same hash, checks headers and
 * sources, and has no TCP, no XMPP, no limits. One datagram, one message. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, SLOT = 2048, HASH = 40, HEADER = 47, BUCKETS = 65536 };

struct association {
    char hash[HASH];
    struct sockaddr_in party[2];
    int parties;
    struct association *next;
};

static struct association *table[BUCKETS];
static uint8_t data[BATCH][SLOT];
static struct mmsghdr receiving[BATCH], sending[BATCH];
static struct iovec in[BATCH], out[BATCH];
static struct sockaddr_in sources[BATCH];

static struct association *find(const uint8_t *hash, int create) {
    unsigned key = 5381;
    for (int i = 0; i < HASH; i++)
        key = key * 33 + hash[i];
    struct association **bucket = &table[key % BUCKETS], *a;
    for (a = *bucket; a; a = a->next)
        if (!memcmp(a->hash, hash, HASH))
            return a;
    if (!create)
        return NULL;
    a = calloc(1, sizeof *a);
    memcpy(a->hash, hash, HASH);
    a->next = *bucket;
    return *bucket = a;
}

static int same(const struct sockaddr_in *a, const struct sockaddr_in *b) {
    return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

/* Where a datagram goes, or NULL. */
static struct sockaddr_in *route(const uint8_t *datagram, int length, const struct sockaddr_in *from) {
    static const uint8_t start[] = {0, 0, 0, 3, HASH};
    if (length < HEADER || memcmp(datagram, start, sizeof start))
        return NULL;
    int initial = datagram[HEADER - 1] == 1;
    struct association *a = find(datagram + sizeof start, initial);
    if (!a)
        return NULL;
    if (initial) {
        if (a->parties < 2 && !(a->parties && same(&a->party[0], from)))
            a->party[a->parties++] = *from;
        return NULL;
    }
    if (a->parties < 2)
        return NULL;
    return same(from, &a->party[0]) ? &a->party[1] : same(from, &a->party[1]) ? &a->party[0] : NULL;
}

int main(int argc, char **argv) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
    int udp = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(udp, (struct sockaddr *)&here, sizeof here)) {
        perror("udprelay: bind");
        return 1;
    }
    setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(udp, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    for (int i = 0; i < BATCH; i++) {
        in[i] = (struct iovec){data[i], SLOT};
        receiving[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1, .msg_name = &sources[i]};
        sending[i].msg_hdr = (struct msghdr){.msg_iov = &out[i], .msg_iovlen = 1,
                                             .msg_namelen = sizeof here};
    }
    for (;;) {
        int count = 0;
        for (int i = 0; i < BATCH; i++)
            receiving[i].msg_hdr.msg_namelen = sizeof here;
        int got = recvmmsg(udp, receiving, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < got; i++) {
            int length = receiving[i].msg_len;
            struct sockaddr_in *to = route(data[i], length, &sources[i]);
            if (!to)
                continue;
            out[count] = (struct iovec){data[i] + HEADER, length - HEADER};
            sending[count++].msg_hdr.msg_name = to;
        }
        for (int sent = 0, done; sent < count; sent += done > 0 ? done : 1)
            done = sendmmsg(udp, sending + sent, count - sent, 0);
    }
}
