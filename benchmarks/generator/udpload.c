/* udpload: a UDP load over sockets that were inherited, for relays of any kind.
 *
 * Standard input has a line for each session: SENDER RECEIVER HEADER
 *   SENDER, RECEIVER   descriptors of connected, non-blocking UDP sockets
 *   HEADER             what stands before each payload, in hexadecimal digits, or -
 *
 * Closed loop: at most --window datagrams are on their way; what does not arrive for 20 ms is lost.
 * Open loop: --rate datagrams a second, whatever becomes of them.
 * The result is one line of JSON. CPU time is the kernel's accounting of the threads of --pid. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { MAX_BURST = 64, MAX_DATAGRAM = 2048, MAX_SAMPLES = 1 << 20, STAMP = 16 };

struct session {
    int sender, receiver, header_length;
    uint8_t header[64];
};

static struct session *sessions;
static int count, payload = 1200, window = 256, burst = 16, gso, pid;
static double rate, seconds = 2, warm = 0.3;

static uint8_t out[MAX_BURST][MAX_DATAGRAM], joined[65536], in[MAX_BURST][MAX_DATAGRAM];
static struct mmsghdr sending[MAX_BURST], receiving[MAX_BURST];
static struct iovec out_pieces[MAX_BURST], in_pieces[MAX_BURST];
static double latencies[MAX_SAMPLES];
static int samples;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

/* Seconds that the threads of the relay have been on a processor. */
static double relay_cpu(void) {
    char path[300];
    double sum = 0;
    if (!pid)
        return 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *e; tasks && (e = readdir(tasks));) {
        unsigned long long nanoseconds;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f && fscanf(f, "%llu", &nanoseconds) == 1)
            sum += nanoseconds * 1e-9;
        if (f)
            fclose(f);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static void read_sessions(void) {
    char hex[256];
    int sender, receiver;
    while (scanf("%d %d %255s", &sender, &receiver, hex) == 3) {
        sessions = realloc(sessions, (count + 1) * sizeof *sessions);
        struct session *s = &sessions[count++];
        s->sender = sender;
        s->receiver = receiver;
        s->header_length = 0;
        for (char *c = hex; *c != '-' && c[0] && c[1]; c += 2) {
            unsigned byte;
            sscanf(c, "%2x", &byte);
            s->header[s->header_length++] = byte;
        }
    }
}

static void prepare(void) {
    int size = sessions[0].header_length + payload;
    int most = gso && 65000 / size < MAX_BURST ? 65000 / size : MAX_BURST;
    if (burst > most)
        burst = most;
    for (int i = 0; i < MAX_BURST; i++) {
        out_pieces[i] = (struct iovec){out[i], size};
        in_pieces[i] = (struct iovec){in[i], MAX_DATAGRAM};
        sending[i].msg_hdr = (struct msghdr){.msg_iov = &out_pieces[i], .msg_iovlen = 1};
        receiving[i].msg_hdr = (struct msghdr){.msg_iov = &in_pieces[i], .msg_iovlen = 1};
    }
}

/* Each payload begins with the time at which it was sent. */
static void fill(struct session *s, double t) {
    for (int i = 0; i < burst; i++) {
        memcpy(out[i], s->header, s->header_length);
        memcpy(out[i] + s->header_length + 4, &t, sizeof t);
    }
}

static int send_burst(struct session *s, double t) {
    int size = s->header_length + payload, done;
    fill(s, t);
    if (gso) {
        char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
        struct iovec piece = {joined, (size_t)size * burst};
        struct msghdr m = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control,
                           .msg_controllen = sizeof control};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        for (int i = 0; i < burst; i++)
            memcpy(joined + i * size, out[i], size);
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        *(uint16_t *)CMSG_DATA(c) = size;
        done = sendmsg(s->sender, &m, 0) > 0 ? burst : -1;
    } else {
        done = sendmmsg(s->sender, sending, burst, 0);
    }
    if (done < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
        die("send");
    return done > 0 ? done : 0;
}

static int receive(struct session *s, int measuring, long *wrong) {
    int got = recvmmsg(s->receiver, receiving, MAX_BURST, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++)
        *wrong += (int)receiving[i].msg_len != payload;
    if (got > 0 && measuring && samples < MAX_SAMPLES) {
        double sent;
        memcpy(&sent, in[0] + 4, sizeof sent);
        latencies[samples++] = now() - sent;
    }
    return got > 0 ? got : 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    return samples ? latencies[(int)((samples - 1) * share)] * 1e6 : 0;
}

static void run(void) {
    struct epoll_event event, ready[64];
    int epoll = epoll_create1(0), turn = 0, measuring = 0;
    long sent = 0, arrived = 0, lost = 0, wrong = 0, first_sent = 0, first_arrived = 0;
    double begin = now(), end = begin + warm + seconds, last = begin, cpu = 0;
    for (int i = 0; i < count; i++) {
        event = (struct epoll_event){.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, sessions[i].receiver, &event))
            die("epoll_ctl");
    }
    for (double t = begin; t < end; t = now()) {
        if (!measuring && t > begin + warm) {
            measuring = 1;
            first_sent = sent;
            first_arrived = arrived;
            cpu = relay_cpu();
        }
        int may = rate ? (t - begin) * rate - sent >= burst : sent - lost - arrived < window;
        if (may)
            sent += send_burst(&sessions[turn++ % count], t);
        int n = epoll_wait(epoll, ready, 64, may || rate ? 0 : 1), got = 0;
        for (int i = 0; i < n; i++)
            got += receive(&sessions[ready[i].data.u32], measuring, &wrong);
        arrived += got;
        if (got) {
            last = t;
        } else if (!rate && t - last > 0.02) {
            lost = sent - arrived;
            last = t;
        }
    }
    double took = now() - begin - warm;
    long moved = arrived - first_arrived, tried = sent - first_sent;
    cpu = relay_cpu() - cpu;
    qsort(latencies, samples, sizeof *latencies, ascending);
    printf("{\"datagramsPerSecond\":%.0f,\"sentPerSecond\":%.0f,\"loss\":%.5f,\"wrong\":%ld,"
           "\"cpuMicroseconds\":%.3f,\"relayLoad\":%.2f,\"p50\":%.0f,\"p99\":%.0f}\n",
           moved / took, tried / took, tried > moved ? 1 - (double)moved / tried : 0, wrong,
           cpu * 1e6 / (moved ? moved : 1), cpu / took, percentile(0.5), percentile(0.99));
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        double value = atof(argv[i + 1]);
        if (!strcmp(argv[i], "--payload"))
            payload = value;
        else if (!strcmp(argv[i], "--window"))
            window = value;
        else if (!strcmp(argv[i], "--burst"))
            burst = value;
        else if (!strcmp(argv[i], "--gso"))
            gso = value;
        else if (!strcmp(argv[i], "--rate"))
            rate = value;
        else if (!strcmp(argv[i], "--seconds"))
            seconds = value;
        else if (!strcmp(argv[i], "--pid"))
            pid = value;
        else {
            fprintf(stderr, "udpload: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    read_sessions();
    if (!count || payload < STAMP || payload > MAX_DATAGRAM - 64) {
        fprintf(stderr, "udpload: no sessions, or a payload that is not from %d to %d\n", STAMP,
                MAX_DATAGRAM - 64);
        return 2;
    }
    prepare();
    run();
    return 0;
}
