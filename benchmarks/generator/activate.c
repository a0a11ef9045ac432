/* Asking for activation: as an external component (XEP-0114) that plays both parties, or by lines to the
   reference relay. */
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
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static enum { NONE, LINE, XMPP } kind;
static int fd = -1;
static char domain[128] = "d", proxy[128];
static char in[1 << 16], out[1 << 20];
static int in_length, out_length;

const char *activation_domain(void) { return domain; }

static int dial(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a) < 0)
        die("connecting for activation");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return s;
}

static void write_all(const char *text) {
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        die("writing for activation");
}

static void read_some(void) {
    ssize_t got = recv(fd, in + in_length, sizeof in - 1 - in_length, 0);
    if (got <= 0)
        die("the server has closed the component's stream");
    in_length += got;
    in[in_length] = 0;
}

static void component_handshake(const char *secret) {
    char text[700], id[300], hex[41], *quote = NULL;
    snprintf(text, sizeof text,
             "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
             "xmlns:stream='http://etherx.jabber.org/streams' to='%s'>",
             domain);
    write_all(text);
    while (!quote) {
        read_some();
        char *stream = strstr(in, "<stream:stream");
        if (stream && strchr(stream, '>'))
            quote = strstr(stream, " id=");
    }
    int n = 0;
    for (char *p = quote + 5; *p != quote[4] && n < 128; p++)
        id[n++] = *p;
    snprintf(id + n, sizeof id - n, "%s", secret);
    sha1_hex(id, strlen(id), hex);
    in_length = 0, in[0] = 0;
    snprintf(text, sizeof text, "<handshake>%s</handshake>", hex);
    write_all(text);
    while (!strstr(in, "<handshake")) {
        read_some();
        if (strstr(in, "error"))
            die(in);
    }
    in_length = 0;
}

void activation_open(int epoll, void *tag) {
    char text[300], *rest;
    snprintf(text, sizeof text, "%s", opt.activation);
    char *word = strtok_r(text, ":", &rest);
    if (!word || !strcmp(word, "none"))
        return;
    kind = strcmp(word, "xmpp") ? LINE : XMPP;
    fd = dial(atoi(strtok_r(NULL, ":", &rest)));
    if (kind == XMPP) {
        snprintf(domain, sizeof domain, "%s", strtok_r(NULL, ":", &rest));
        char *secret = strtok_r(NULL, ":", &rest);
        snprintf(proxy, sizeof proxy, "%s", strtok_r(NULL, ":", &rest));
        component_handshake(secret);
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = tag};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}

void activation_request(int index, const char *sid, const char *hash) {
    int room = sizeof out - out_length;
    if (kind == LINE)
        out_length += snprintf(out + out_length, room, "A %d %s\n", index, hash);
    else if (kind == XMPP)
        out_length += snprintf(out + out_length, room,
                               "<iq type='set' id='a%d' from='r@%s/x' to='%s'>"
                               "<query xmlns='http://jabber.org/protocol/bytestreams' sid='%s'>"
                               "<activate>t@%s/y</activate></query></iq>",
                               index, domain, proxy, sid, domain);
    if (out_length >= (int)sizeof out)
        die("too many activations at once");
}

void activation_flush(void) {
    if (out_length <= 0)
        return;
    ssize_t sent = send(fd, out, out_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        die("sending for activation");
    if (sent > 0) {
        memmove(out, out + sent, out_length - sent);
        out_length -= sent;
    }
}

static char *read_lines(char *at, void (*active)(int), void (*refused)(int)) {
    char *end;
    for (; (end = strchr(at, '\n')); at = end + 1)
        (*at == 'O' ? active : refused)(atoi(at + 2));
    return at;
}

static char *read_answers(char *at, void (*active)(int), void (*refused)(int)) {
    static int shown;
    for (;;) {
        char *start = strstr(at, "<iq "), *end = start ? strchr(start, '>') : NULL;
        if (!end)
            return start ? start : at;
        char *id = strstr(start, " id="), *type = strstr(start, " type=");
        if (id && id < end && id[5] == 'a' && type && type < end) {
            int result = !strncmp(type + 7, "result", 6);
            if (!result && shown++ < 3)
                fprintf(stderr, "load: %.400s\n", start);
            (result ? active : refused)(atoi(id + 6));
        }
        at = end + 1;
    }
}

void activation_read(void (*active)(int index), void (*refused)(int index)) {
    for (;;) {
        int one = 1;
        ssize_t got = recv(fd, in + in_length, sizeof in - 1 - in_length, 0);
        setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0)
            die("the way of activation was lost");
        in_length += got;
        in[in_length] = 0;
        char *rest = (kind == LINE ? read_lines : read_answers)(in, active, refused);
        in_length -= rest - in;
        memmove(in, rest, in_length + 1);
    }
}
