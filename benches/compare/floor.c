// The floor of benches/compare: what passing bytes on costs with no HTTP at all. One thread, epoll, edge-triggered.
//
//     floor PORT BACKEND         each connection's bytes to a connection of the backend's, and back
//     floor PORT BACKEND apart   the same, and the backend's connection ends with the client's
//     floor PORT                 answers each read with the same response, as a cache would
//
// It takes every read for a whole request or a whole response, which they are on this machine where they are small;
// connections to the backend are kept, and used again once nothing is under way on them.

#define _GNU_SOURCE  // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 65536, EVENTS = 512, BUFFER = 65536 };

// What a descriptor is: of a client, of the backend, or nothing. `other` is the other side's, -1 where there is none.
static struct { enum { NOTHING, CLIENT, BACKEND } kind; int other; int waits; } all[MOST];
static int kept[MOST], kept_count, events, backend, apart;
static char buffer[BUFFER], response[512];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static int reach(void) {
    if (kept_count) return kept[--kept_count];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(backend), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || fd >= MOST || connect(fd, (void *)&to, sizeof to)) fail("backend");
    watch(fd);
    all[fd].kind = BACKEND;
    all[fd].other = -1;
    return fd;
}

static void end(int fd) {
    int other = all[fd].other;
    close(fd);
    all[fd].kind = NOTHING;
    if (other < 0) {
        for (int at = 0; at < kept_count; at++)
            if (kept[at] == fd) kept[at] = kept[--kept_count];
    } else if (all[other].kind == BACKEND && !all[other].waits && !apart) {
        all[other].other = -1;
        kept[kept_count++] = other;
    } else {
        all[other].other = -1;
        close(other);
        all[other].kind = NOTHING;
    }
}

static void serve(int fd) {
    ssize_t got = recv(fd, buffer, BUFFER, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return end(fd);
    if (!backend) {
        if (send(fd, response, strlen(response), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) end(fd);
        return;
    }
    if (all[fd].kind == CLIENT && all[fd].other < 0) {
        int other = reach();
        all[fd].other = other;
        all[other].other = fd;
    }
    int other = all[fd].other;
    if (other < 0) return;
    all[all[fd].kind == BACKEND ? fd : other].waits = all[fd].kind == CLIENT;
    if (send(other, buffer, got, MSG_DONTWAIT | MSG_NOSIGNAL) != got) return end(fd);
}

int main(int count, char **words) {
    if (count < 2) return 2;
    backend = count > 2 ? atoi(words[2]) : 0;
    apart = count > 3;
    int length = 127, one = 1;
    int head = sprintf(response, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", length);
    for (int n = 0; n < length; n++) response[head + n] = "abcdefghijklmnopqrstuvwxyz0123456789"[n % 36];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) fail("listen");
    events = epoll_create1(EPOLL_CLOEXEC);
    watch(listener);
    for (;;) {
        struct epoll_event ready[EVENTS];
        int number = epoll_wait(events, ready, EVENTS, -1);
        for (int n = 0; n < number; n++) {
            int fd = ready[n].data.fd;
            if (fd != listener) {
                if (all[fd].kind != NOTHING) serve(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                if (fd >= MOST) fail("too many");
                all[fd].kind = CLIENT;
                all[fd].other = -1;
                watch(fd);
            }
        }
    }
}
