/* What the parts of the load generator share. */
#ifndef LOAD_H
#define LOAD_H

#include <stdint.h>

struct options {
    const char *mode;       /* bulk verify setup ping idle pending */
    const char *protocol;   /* socks: SOCKS5 to a proxy; raw: to a relay that dials our sink */
    const char *activation; /* none | line:PORT | xmpp:PORT:DOMAIN:SECRET:PROXY */
    const char *pids;       /* whose CPU time and memory count, with their children */
    int port, sink;
    int pairs, concurrent, both, write_size, nodelay, touch, single;
    long total, rounds;
    uint64_t bytes;
    double seconds, warm, hold, timeout;
};

extern struct options opt;

double now(void);
void die(const char *what);

/* sha1.c */
void sha1_hex(const void *data, unsigned long length, char hex[41]);

/* account.c: what the measured processes have used. */
struct usage {
    double user, system, scheduled, machine;
};
struct usage usage_now(void);
long memory_kib(void);
long slab_kib(void);
int open_descriptors(void);
double own_cpu(void);

/* activate.c: asking for activation. */
void activation_open(int epoll, void *tag);
void activation_request(int index, const char *sid, const char *hash);
void activation_read(void (*active)(int index), void (*refused)(int index));
void activation_flush(void);
const char *activation_domain(void);

#endif
