/* The reference: what a relay in C, one thread and one edge-triggered epoll, costs. SOCKS5 with pairing by
   hash; activation by lines: "A index hash" is answered "O index".

       relay PORT ACTIVATION_PORT splice|copy [PIPE_SIZE] */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUCKETS 65536
#define BUDGET (4 << 20)
#define COPY_SIZE (1 << 18)
#define POOL 1024

enum state { GREETING, REQUEST, WAITING, RELAYING, ACCEPTING, ACCEPTING_LINES, LINES };

struct connection {
    int fd, got, readable, writable, ended, full, dead;
    enum state state;
    char text[64], hash[41];
    struct connection *peer, *next;
    int pipe[2];
    size_t held, offset; /* what came from here and is not delivered */
    char *copy;
};

static int epoll, copying, pipe_size = 1 << 20, pool[POOL][2], pooled;
static struct connection *waiting[BUCKETS], *graves;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int operation, struct connection *c, unsigned events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &e);
}

static struct connection **bucket(const char *hash) {
    unsigned h = 5381;
    for (int i = 0; i < 40; i++)
        h = h * 33 + hash[i];
    return &waiting[h % BUCKETS];
}

static void forget(struct connection *c) {
    if (!c->hash[0])
        return;
    struct connection **at = bucket(c->hash);
    while (*at && *at != c)
        at = &(*at)->next;
    if (*at)
        *at = c->next;
    c->hash[0] = 0;
}

static void borrow_pipe(struct connection *c) {
    if (pooled) {
        pooled--;
        c->pipe[0] = pool[pooled][0], c->pipe[1] = pool[pooled][1];
    } else {
        if (pipe2(c->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
            fail("pipe");
        fcntl(c->pipe[1], F_SETPIPE_SZ, pipe_size);
    }
}

static void return_pipe(struct connection *c) {
    if (c->pipe[0] < 0)
        return;
    if (!c->held && pooled < POOL) {
        pool[pooled][0] = c->pipe[0], pool[pooled][1] = c->pipe[1];
        pooled++;
    } else
        close(c->pipe[0]), close(c->pipe[1]);
    c->pipe[0] = c->pipe[1] = -1;
}

static void end_one(struct connection *c) {
    if (c->dead)
        return;
    c->dead = 1;
    forget(c);
    close(c->fd);
    return_pipe(c);
    free(c->copy);
    c->copy = NULL;
    c->next = graves;
    graves = c;
}

static void end_both(struct connection *c) {
    struct connection *peer = c->peer;
    end_one(c);
    if (peer)
        end_one(peer);
}

static ssize_t take(struct connection *c) {
    if (!copying) {
        if (c->pipe[0] < 0)
            borrow_pipe(c);
        return splice(c->fd, NULL, c->pipe[1], NULL, pipe_size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    }
    if (!c->copy && !(c->copy = malloc(COPY_SIZE)))
        fail("memory");
    c->offset = 0;
    return recv(c->fd, c->copy, COPY_SIZE, 0);
}

static ssize_t give(struct connection *c) {
    if (!copying)
        return splice(c->pipe[0], NULL, c->peer->fd, NULL, c->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return send(c->peer->fd, c->copy + c->offset, c->held, MSG_NOSIGNAL);
}

/* Move what can be moved from c to its peer; say whether there is more than the budget allows. */
static int move(struct connection *c) {
    struct connection *d = c->peer;
    size_t budget = BUDGET;
    for (int progress = 1; progress && budget;) {
        progress = 0;
        if (c->readable && !c->ended && !(copying && c->held)) {
            ssize_t n = take(c);
            if (n > 0)
                c->held += n, progress = 1, budget -= (size_t)n > budget ? budget : (size_t)n;
            else if (n == 0)
                c->ended = 1;
            else if (errno != EAGAIN)
                return end_both(c), 0;
            else if (c->held)
                c->full = 1; /* the pipe, or is the socket empty? */
            else
                c->readable = 0;
        }
        if (c->held && d->writable) {
            ssize_t n = give(c);
            if (n > 0)
                c->held -= n, c->offset += n, progress = 1;
            else if (errno == EAGAIN)
                d->writable = 0;
            else
                return end_both(c), 0;
        }
        if (!c->held && c->full)
            c->full = 0, progress = 1;
    }
    if (c->held)
        return budget == 0;
    return_pipe(c);
    free(c->copy);
    c->copy = NULL;
    if (c->ended == 1) {
        c->ended = 2;
        shutdown(d->fd, SHUT_WR);
        if (d->ended == 2)
            return end_both(c), 0;
    }
    return budget == 0;
}

static void handshake(struct connection *c) {
    ssize_t n = recv(c->fd, c->text + c->got, sizeof c->text - c->got, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            end_one(c);
        return;
    }
    c->got += n;
    if (c->state == GREETING && c->got >= 3) {
        send(c->fd, "\5\0", 2, MSG_NOSIGNAL);
        c->state = REQUEST, c->got = 0;
    } else if (c->state == REQUEST && c->got >= 47) {
        memcpy(c->hash, c->text + 5, 40);
        c->next = *bucket(c->hash);
        *bucket(c->hash) = c;
        c->state = WAITING;
        c->text[1] = 0;
        send(c->fd, c->text, 47, MSG_NOSIGNAL);
    }
}

static int activate(const char *hash) {
    struct connection *first = NULL, *second = NULL;
    for (struct connection *c = *bucket(hash); c; c = c->next)
        if (!memcmp(c->hash, hash, 40))
            first ? (second = c) : (first = c);
    if (!second)
        return 0;
    forget(first), forget(second);
    first->peer = second, second->peer = first;
    struct connection *both[2] = {first, second};
    for (int i = 0; i < 2; i++) {
        both[i]->state = RELAYING;
        both[i]->readable = both[i]->writable = 1;
        watch(EPOLL_CTL_MOD, both[i], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
    return 1;
}

static void read_lines(int fd) {
    static char in[1 << 16], out[1 << 17];
    static int length;
    ssize_t n;
    while ((n = recv(fd, in + length, sizeof in - 1 - length, 0)) > 0) {
        char *at = in, *end;
        int answer = 0;
        length += n;
        in[length] = 0;
        for (; (end = strchr(at, '\n')); at = end + 1) {
            int index = atoi(at + 2);
            answer += sprintf(out + answer, "%c %d\n", activate(strchr(at + 2, ' ') + 1) ? 'O' : 'E', index);
        }
        length -= at - in;
        memmove(in, at, length + 1);
        if (answer)
            send(fd, out, answer, MSG_NOSIGNAL);
    }
    if (n == 0)
        close(fd);
}

static void accept_all(struct connection *listener) {
    int fd, one = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            fail("memory");
        c->fd = fd, c->pipe[0] = c->pipe[1] = -1;
        c->state = listener->state == ACCEPTING ? GREETING : LINES;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(EPOLL_CTL_ADD, c, EPOLLIN);
    }
}

static void listen_on(struct connection *c, int port, enum state state) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    c->state = state;
    setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(c->fd, 4096) < 0)
        fail("listening");
    watch(EPOLL_CTL_ADD, c, EPOLLIN);
}

static struct connection *again[8192];
static int again_count;

static void move_some(struct connection *c) {
    if (move(c) && again_count < 8192)
        again[again_count++] = c;
}

static void serve(struct connection *c, unsigned events) {
    if (c->dead)
        return;
    if (c->state == ACCEPTING || c->state == ACCEPTING_LINES)
        accept_all(c);
    else if (c->state == LINES)
        read_lines(c->fd);
    else if (c->state != RELAYING)
        handshake(c);
    else {
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
            c->readable = 1;
            move_some(c);
        }
        if (!c->dead && events & EPOLLOUT) {
            c->writable = 1;
            if (c->peer->held || c->peer->readable)
                move_some(c->peer);
        }
    }
}

int main(int count, char **words) {
    static struct connection listener, lines, *before[8192];
    struct rlimit limit = {20000, 20000};
    if (count < 4)
        return fprintf(stderr, "relay PORT ACTIVATION_PORT splice|copy [PIPE_SIZE]\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_NOFILE, &limit);
    copying = !strcmp(words[3], "copy");
    if (count > 4)
        pipe_size = atoi(words[4]);
    epoll = epoll_create1(0);
    listen_on(&listener, atoi(words[1]), ACCEPTING);
    listen_on(&lines, atoi(words[2]), ACCEPTING_LINES);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, again_count ? 0 : -1), m = again_count;
        memcpy(before, again, m * sizeof *again);
        again_count = 0;
        for (int i = 0; i < n; i++)
            serve(events[i].data.ptr, events[i].events);
        for (int i = 0; i < m; i++)
            if (!before[i]->dead)
                move_some(before[i]);
        while (!again_count && graves) {
            struct connection *c = graves;
            graves = c->next;
            free(c);
        }
    }
}
