/* Bounded load on a relay of bytestreams, over loopback: both parties and the activation in one thread.
   Prints one JSON line. benchmarks/peers.py knows how to call it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

#include "load.h"

#define READ_SIZE (1 << 20)
#define VERIFY_SIZE (1 << 18)
#define GIB 1073741824.0

enum state { UNUSED, CONNECTING, GREETED, REQUESTED, WAITING, ACTIVE, UNKNOWN };

struct connection {
    int fd, pair, side, got, ended, shut;
    enum state state;
    unsigned char reply[80];
    uint64_t sent, received;
};

struct pair {
    char hash[41], sid[40];
    struct connection side[2]; /* 0: the requester, who sends; 1: the target */
    double started;
};

struct options opt = {.mode = "bulk",
                      .protocol = "socks",
                      .activation = "none",
                      .pids = "",
                      .pairs = 1,
                      .write_size = 65536,
                      .concurrent = 64,
                      .rounds = 5000,
                      .seconds = 2,
                      .warm = 0.4,
                      .hold = 1,
                      .timeout = 15};

static struct pair *pairs;
static int epoll, listener = -1, is_setup, is_ping, is_pending, is_verify, sending;
static int ready, failed, bad;
static long started, finished;
static double *latency;
static uint64_t received, sequence, seed;
static unsigned char *buffer;
static char activation_tag, listener_tag;

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void watch(int operation, struct connection *c, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &e) < 0 && operation != EPOLL_CTL_DEL)
        die("epoll_ctl");
}

static void fail(struct connection *c, const char *why) {
    if (failed++ < 5)
        fprintf(stderr, "load: pair %d side %d state %d: %s\n", c->pair, c->side, c->state, why);
    watch(EPOLL_CTL_DEL, c, 0);
}

static void send_small(struct connection *c, const void *data, int length) {
    if (send(c->fd, data, length, MSG_NOSIGNAL) != length)
        failed++;
}

/* Connecting and handshakes. */

static void connect_side(struct pair *p, int side) {
    struct connection *c = &p->side[side];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
    int one = 1;
    memset(c, 0, sizeof *c);
    c->pair = p - pairs, c->side = side, c->state = CONNECTING;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket");
    if (opt.nodelay)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        die("connect");
    watch(EPOLL_CTL_ADD, c, EPOLLOUT);
}

static void start_pair(int index) {
    struct pair *p = &pairs[index];
    char text[400];
    p->started = now();
    snprintf(p->sid, sizeof p->sid, "s%llx-%llx", (unsigned long long)seed, (unsigned long long)sequence++);
    int n = snprintf(text, sizeof text, "%sr@%s/xt@%s/y", p->sid, activation_domain(), activation_domain());
    sha1_hex(text, n, p->hash);
    started++;
    connect_side(p, strcmp(opt.protocol, "raw") ? 1 : 0);
}

static void pair_active(int index) {
    struct pair *p = &pairs[index];
    p->side[0].state = p->side[1].state = ACTIVE;
    ready++;
    if (is_setup) {
        watch(EPOLL_CTL_MOD, &p->side[1], EPOLLIN);
        send_small(&p->side[0], "x", 1);
    }
}

static void pair_refused(int index) {
    if (failed++ < 5)
        fprintf(stderr, "load: activation of pair %d was refused\n", index);
}

static void side_waits(struct connection *c) {
    struct pair *p = &pairs[c->pair];
    c->state = WAITING;
    watch(EPOLL_CTL_MOD, c, 0);
    if (opt.single)
        ready++;
    else if (c->side == 1)
        connect_side(p, 0);
    else if (is_pending)
        ready++;
    else
        activation_request(c->pair, p->sid, p->hash);
}

static void side_connected(struct connection *c) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        errno = error;
        die("connect");
    }
    if (!strcmp(opt.protocol, "raw")) {
        uint32_t id = c->pair;
        send_small(c, &id, sizeof id);
        c->state = WAITING;
        watch(EPOLL_CTL_MOD, c, 0);
        return;
    }
    watch(EPOLL_CTL_MOD, c, EPOLLIN);
    send_small(c, "\5\1\0", 3);
    c->state = GREETED;
}

static void handshake(struct connection *c) {
    if (c->state == CONNECTING) {
        side_connected(c);
        return;
    }
    ssize_t got = recv(c->fd, c->reply + c->got, sizeof c->reply - c->got, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        fail(c, "closed in the handshake");
        return;
    }
    c->got += got;
    if (c->state == GREETED && c->got >= 2) {
        unsigned char request[47] = {5, 1, 0, 3, 40};
        if (c->reply[0] != 5 || c->reply[1] != 0) {
            fail(c, "no method accepted");
            return;
        }
        memcpy(request + 5, pairs[c->pair].hash, 40);
        c->got = 0;
        send_small(c, request, sizeof request);
        c->state = REQUESTED;
    } else if (c->state == REQUESTED && c->got >= 47) {
        if (c->reply[1] != 0)
            fail(c, "request refused");
        else if (memcmp(c->reply + 5, pairs[c->pair].hash, 40))
            bad++;
        else
            side_waits(c);
    }
}

/* The far side of a relay that dials. */

static void open_listener(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(opt.sink)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &listener_tag};
    int one = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 4096) < 0)
        die("listening");
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
}

static void accept_all(void) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("memory");
        c->fd = fd, c->state = UNKNOWN;
        watch(EPOLL_CTL_ADD, c, EPOLLIN);
    }
}

static void identify(struct connection *c) {
    uint32_t id;
    ssize_t got = recv(c->fd, &id, sizeof id, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got != sizeof id || id >= (uint32_t)opt.pairs + opt.concurrent) {
        close(c->fd);
        free(c);
        return;
    }
    struct connection *d = &pairs[id].side[1];
    int one = 1;
    memset(d, 0, sizeof *d);
    d->fd = c->fd, d->pair = id, d->side = 1, d->state = WAITING;
    free(c);
    watch(EPOLL_CTL_MOD, d, 0);
    if (opt.nodelay)
        setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pair_active(id);
}

/* Data. */

static unsigned char pattern(uint64_t offset, int pair, int side) {
    uint64_t x = (offset >> 3) * 0x9E3779B97F4A7C15ull + pair * 1315423911ull + side * 7;
    x ^= x >> 29;
    return x >> ((offset & 7) * 8);
}

static void check(struct connection *c, ssize_t count) {
    for (ssize_t i = 0; i < count; i++)
        if (buffer[i] != pattern(c->received + i, c->pair, !c->side)) {
            bad++;
            return;
        }
}

static void receive(struct connection *c) {
    for (int i = 0; i < 2; i++) {
        size_t wanted = is_verify ? VERIFY_SIZE : READ_SIZE;
        ssize_t got = recv(c->fd, buffer, wanted, is_verify ? 0 : MSG_TRUNC);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            c->ended = got ? 2 : 1;
            failed += got < 0;
            watch(EPOLL_CTL_MOD, c, 0);
            return;
        }
        if (is_verify)
            check(c, got);
        c->received += got, received += got;
        if ((size_t)got < wanted)
            return;
    }
}

static void transmit(struct connection *c) {
    uint64_t limit = opt.bytes ? opt.bytes : UINT64_MAX;
    unsigned char *data = buffer + READ_SIZE;
    for (long budget = 1 << 20; budget > 0 && c->sent < limit;) {
        size_t n = opt.write_size;
        if (n > limit - c->sent)
            n = limit - c->sent;
        if (is_verify && n > VERIFY_SIZE)
            n = VERIFY_SIZE;
        for (size_t i = 0; is_verify && i < n; i++)
            data[i] = pattern(c->sent + i, c->pair, c->side);
        ssize_t sent = send(c->fd, data, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            failed++;
            watch(EPOLL_CTL_MOD, c, EPOLLIN);
            return;
        }
        if (sent <= 0)
            break;
        c->sent += sent, budget -= sent;
        if ((size_t)sent < n)
            break;
    }
    if (c->sent >= limit && !c->shut) {
        c->shut = 1;
        if (is_verify)
            shutdown(c->fd, SHUT_WR);
        watch(EPOLL_CTL_MOD, c, EPOLLIN);
    }
}

static void setup_data(struct connection *c) {
    unsigned char text[4];
    struct pair *p = &pairs[c->pair];
    ssize_t got = recv(c->fd, text, sizeof text, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got == 1)
        latency[finished] = now() - p->started;
    else
        failed++;
    finished++;
    for (int side = 0; side < 2; side++)
        close(p->side[side].fd), p->side[side].fd = 0, p->side[side].state = UNUSED;
    if (started < opt.total)
        start_pair(c->pair);
}

static void ping_data(struct connection *c) {
    unsigned char text[64];
    struct pair *p = &pairs[c->pair];
    ssize_t got = recv(c->fd, text, sizeof text, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        fail(c, "lost while pinging");
        return;
    }
    if (c->side == 1) {
        send_small(c, text, got);
        return;
    }
    double t = now();
    latency[finished++] = t - p->started;
    if (started < opt.total) {
        started++;
        p->started = t;
        send_small(c, "p", 1);
    }
}

static void active_event(struct connection *c, uint32_t events) {
    if (is_setup)
        setup_data(c);
    else if (is_ping)
        ping_data(c);
    else {
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(c);
        if ((events & EPOLLOUT) && sending)
            transmit(c);
    }
}

static void pump(int milliseconds) {
    struct epoll_event events[512];
    int n = epoll_wait(epoll, events, 512, milliseconds);
    for (int i = 0; i < n; i++) {
        void *tag = events[i].data.ptr;
        struct connection *c = tag;
        if (tag == &activation_tag)
            activation_read(pair_active, pair_refused);
        else if (tag == &listener_tag)
            accept_all();
        else if (c->fd <= 0)
            continue;
        else if (c->state == UNKNOWN)
            identify(c);
        else if (c->state == ACTIVE)
            active_event(c, events[i].events);
        else if (c->state == WAITING)
            fail(c, "lost while waiting");
        else
            handshake(c);
    }
    activation_flush();
}

/* The modes. */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(long n, double p) {
    if (n <= 0)
        return 0;
    qsort(latency, n, sizeof *latency, ascending);
    return latency[(long)(p * (n - 1) + 0.5)];
}

static int run_setup(double deadline) {
    latency = calloc(opt.total + opt.concurrent + 1, sizeof *latency);
    struct usage before = usage_now();
    double own = own_cpu(), began = now();
    for (int i = 0; i < opt.concurrent && i < opt.total; i++)
        start_pair(i);
    while (finished < opt.total && now() < deadline && failed < 100)
        pump(50);
    double took = now() - began, cpu = usage_now().scheduled - before.scheduled;
    own = own_cpu() - own;
    printf("{\"mode\":\"setup\",\"done\":%ld,\"failed\":%d,\"rate\":%.1f,\"p50ms\":%.3f,\"p99ms\":%.3f,"
           "\"cpu_us\":%.1f,\"other\":%.2f}\n",
           finished, failed + bad, finished / took, percentile(finished, .5) * 1e3,
           percentile(finished, .99) * 1e3, cpu * 1e6 / (finished ? finished : 1),
           usage_now().machine - before.machine - cpu - own);
    return failed || finished < opt.total;
}

static int open_pairs(double deadline) {
    int opened = 0;
    while (ready < opt.pairs && now() < deadline && failed < 50) {
        while (opened < opt.pairs && opened - ready < opt.concurrent)
            start_pair(opened++);
        activation_flush();
        pump(20);
    }
    if (ready < opt.pairs)
        printf("{\"mode\":\"%s\",\"error\":\"%d of %d pairs, %d failed\"}\n", opt.mode, ready, opt.pairs, failed);
    return ready == opt.pairs;
}

static void watch_data(void) {
    sending = 1;
    for (int i = 0; i < opt.pairs; i++) {
        watch(EPOLL_CTL_MOD, &pairs[i].side[0], EPOLLIN | EPOLLOUT);
        watch(EPOLL_CTL_MOD, &pairs[i].side[1], opt.both ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static int run_idle(long memory, long slab, int descriptors, double deadline) {
    if (opt.touch) {
        opt.bytes = opt.touch;
        watch_data();
        while (received < (uint64_t)opt.touch * opt.pairs && now() < deadline)
            pump(20);
    }
    struct usage before = usage_now();
    double until = now() + opt.hold;
    while (now() < until)
        pump(50);
    double n = opt.pairs;
    printf("{\"mode\":\"%s\",\"failed\":%d,\"base_kib\":%ld,\"kib\":%.3f,\"descriptors\":%.2f,\"slab_kib\":%.2f,"
           "\"idle_cpu\":%.3f}\n",
           opt.mode, failed, memory, (memory_kib() - memory) / n, (open_descriptors() - descriptors) / n,
           (slab_kib() - slab) / n, usage_now().scheduled - before.scheduled);
    return failed != 0;
}

static int run_ping(double deadline) {
    opt.total = opt.rounds * opt.pairs;
    latency = calloc(opt.total + opt.pairs, sizeof *latency);
    int one = 1;
    for (int i = 0; i < opt.pairs; i++)
        for (int side = 0; side < 2; side++) {
            setsockopt(pairs[i].side[side].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            watch(EPOLL_CTL_MOD, &pairs[i].side[side], EPOLLIN);
        }
    struct usage before = usage_now();
    double own = own_cpu(), began = now();
    started = finished = 0;
    for (int i = 0; i < opt.pairs; i++, started++) {
        pairs[i].started = now();
        send_small(&pairs[i].side[0], "p", 1);
    }
    while (finished < opt.total && now() < deadline && !failed)
        pump(50);
    double took = now() - began, cpu = usage_now().scheduled - before.scheduled;
    own = own_cpu() - own;
    printf("{\"mode\":\"ping\",\"done\":%ld,\"failed\":%d,\"rate\":%.0f,\"p50us\":%.1f,\"p99us\":%.1f,"
           "\"cpu_us\":%.2f,\"other\":%.2f}\n",
           finished, failed, finished / took, percentile(finished, .5) * 1e6, percentile(finished, .99) * 1e6,
           cpu * 1e6 / (finished ? finished : 1), usage_now().machine - before.machine - cpu - own);
    return failed != 0;
}

static int ends_seen(void) {
    int seen = 0;
    for (int i = 0; i < opt.pairs; i++)
        seen += (pairs[i].side[1].ended == 1) + (opt.both && pairs[i].side[0].ended == 1);
    return seen;
}

/* The requesters have half-closed; each target sends 1000 bytes back, which must arrive. */
static int half_close(void) {
    unsigned char answer[1000];
    int whole = 0;
    double until = now() + 1.5;
    for (int i = 0; i < opt.pairs; i++) {
        struct pair *p = &pairs[i];
        for (int j = 0; j < 1000; j++)
            answer[j] = pattern(j, i, 1);
        send(p->side[1].fd, answer, sizeof answer, MSG_NOSIGNAL);
        watch(EPOLL_CTL_MOD, &p->side[0], EPOLLIN);
    }
    while (whole < opt.pairs && now() < until) {
        pump(20);
        whole = 0;
        for (int i = 0; i < opt.pairs; i++)
            whole += pairs[i].side[0].received == sizeof answer;
    }
    return whole;
}

static int run_verify(double deadline) {
    uint64_t wanted = (uint64_t)opt.pairs * opt.bytes * (opt.both ? 2 : 1);
    int ends = opt.pairs * (opt.both ? 2 : 1), half_closed = -1;
    double last = now();
    for (uint64_t before = 0; now() < deadline && now() - last < 2; before = received) {
        pump(50);
        if (received >= wanted && ends_seen() == ends)
            break;
        if (received != before)
            last = now();
    }
    uint64_t arrived = received;
    int seen = ends_seen(), lost = failed;
    if (!opt.both)
        half_closed = half_close();
    printf("{\"mode\":\"verify\",\"received\":%llu,\"wanted\":%llu,\"bad\":%d,\"failed\":%d,\"ends\":%d,"
           "\"ends_wanted\":%d,\"half_closed\":%d}\n",
           (unsigned long long)arrived, (unsigned long long)wanted, bad, lost, seen, ends, half_closed);
    return 0;
}

static int run_bulk(void) {
    watch_data();
    double until = now() + opt.warm;
    while (now() < until)
        pump(20);
    uint64_t first = received;
    struct usage before = usage_now();
    double own = own_cpu(), began = now();
    while (now() < began + opt.seconds)
        pump(20);
    double took = now() - began, gib = (received - first) / GIB;
    struct usage after = usage_now();
    double cpu = after.scheduled - before.scheduled;
    own = own_cpu() - own;
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < opt.pairs; i++) {
        uint64_t moved = pairs[i].side[0].received + pairs[i].side[1].received;
        least = moved < least ? moved : least;
        most = moved > most ? moved : most;
    }
    if (gib <= 0) {
        printf("{\"mode\":\"bulk\",\"error\":\"nothing was moved\"}\n");
        return 1;
    }
    printf("{\"mode\":\"bulk\",\"mibs\":%.1f,\"cpu_gib\":%.4f,\"user_gib\":%.4f,\"system_gib\":%.4f,"
           "\"generator_gib\":%.4f,\"fair\":%.3f,\"failed\":%d,\"other\":%.2f}\n",
           gib * 1024 / took, cpu / gib, (after.user - before.user) / gib, (after.system - before.system) / gib,
           own / gib, most ? (double)least / most : 0, failed, after.machine - before.machine - cpu - own);
    return failed != 0;
}

/* The command line. */

static int set_option(const char *name, const char *value) {
    const struct {
        const char *name;
        char type;
        void *to;
    } table[] = {
        {"--mode", 's', &opt.mode},         {"--protocol", 's', &opt.protocol}, {"--activation", 's', &opt.activation},
        {"--pids", 's', &opt.pids},         {"--port", 'i', &opt.port},         {"--sink", 'i', &opt.sink},
        {"--pairs", 'i', &opt.pairs},       {"--both", 'i', &opt.both},         {"--write-size", 'i', &opt.write_size},
        {"--nodelay", 'i', &opt.nodelay},   {"--touch", 'i', &opt.touch},       {"--single", 'i', &opt.single},
        {"--concurrent", 'i', &opt.concurrent},
        {"--total", 'l', &opt.total},       {"--rounds", 'l', &opt.rounds},     {"--bytes", 'u', &opt.bytes},
        {"--seconds", 'd', &opt.seconds},   {"--warm", 'd', &opt.warm},         {"--hold", 'd', &opt.hold},
        {"--timeout", 'd', &opt.timeout},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, name))
            continue;
        switch (table[i].type) {
        case 's': *(const char **)table[i].to = value; break;
        case 'i': *(int *)table[i].to = atoi(value); break;
        case 'l': *(long *)table[i].to = atol(value); break;
        case 'u': *(uint64_t *)table[i].to = strtoull(value, NULL, 10); break;
        case 'd': *(double *)table[i].to = atof(value); break;
        }
        return 1;
    }
    return 0;
}

static void prepare(void) {
    struct rlimit limit = {20000, 20000};
    struct timespec t;
    setrlimit(RLIMIT_NOFILE, &limit);
    clock_gettime(CLOCK_REALTIME, &t);
    seed = t.tv_sec * 1000003ull ^ t.tv_nsec ^ (uint64_t)getpid() << 40;
    is_setup = !strcmp(opt.mode, "setup"), is_ping = !strcmp(opt.mode, "ping");
    is_pending = !strcmp(opt.mode, "pending"), is_verify = !strcmp(opt.mode, "verify");
    epoll = epoll_create1(0);
    buffer = malloc(4 << 20);
    pairs = calloc(opt.pairs + opt.concurrent, sizeof *pairs);
    if (epoll < 0 || !buffer || !pairs)
        die("memory");
    memset(buffer, 0x5a, 4 << 20);
    activation_open(epoll, &activation_tag);
    if (opt.sink)
        open_listener();
}

int main(int count, char **words) {
    for (int i = 1; i < count; i += 2)
        if (i + 1 >= count || !set_option(words[i], words[i + 1])) {
            fprintf(stderr, "load: no such option: %s\n", words[i]);
            return 2;
        }
    if (opt.pairs > 20000 || opt.seconds > 60 || opt.total > 200000) {
        fprintf(stderr, "load: that is more than this tool is meant for\n");
        return 2;
    }
    prepare();
    double deadline = now() + opt.timeout;
    if (is_setup)
        return run_setup(deadline);
    long memory = memory_kib(), slab = slab_kib();
    int descriptors = open_descriptors();
    if (!open_pairs(deadline))
        return 1;
    if (is_pending || !strcmp(opt.mode, "idle"))
        return run_idle(memory, slab, descriptors, deadline);
    if (is_ping)
        return run_ping(deadline);
    if (is_verify) {
        watch_data();
        return run_verify(deadline);
    }
    return run_bulk();
}
