/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket: TCP, Unix or inherited. Start-up only; may block in a
 * name lookup. */
#include "server/http_private.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG 1024

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
    struct sockaddr_storage storage;
};

/* "cannot listen on <where>: address already in use" */
static int
listen_error(struct error *err, const char *where, int error_number)
{
    char text[128];
    snprintf(text, sizeof text, "%s", strerror(error_number));
    text[0] = (char)tolower((unsigned char)text[0]);
    int code = error_number == EADDRINUSE ? ERR_BUSY : ERR_IO;
    return error_set(err, code, "cannot listen on %s: %s", where, text);
}

/* A listening socket at the address, or -errno. */
static int
bind_and_listen(const union address *a, socklen_t len)
{
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int one = 1, zero = 0;
    if (a->any.sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, &a->any, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int e = errno;
        close(fd);
        return -e;
    }
    return fd;
}

static int
listen_all(int port, struct error *err)
{
    union address a = {.v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port),
                              .sin6_addr = IN6ADDR_ANY_INIT}};
    int fd = bind_and_listen(&a, sizeof a.v6);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) { /* a kernel without IPv6 */
        a = (union address){.v4 = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_ANY)}};
        fd = bind_and_listen(&a, sizeof a.v4);
    }
    if (fd < 0) {
        char where[32];
        snprintf(where, sizeof where, "*:%d", port);
        return listen_error(err, where, -fd);
    }
    return fd;
}

/* libmicrohttpd listens on one socket: of a name's addresses the first IPv4
 * one is taken, which is what "localhost" in clients' settings means. */
static int
listen_host(const char *host, int port, struct error *err)
{
    char where[300], service[16];
    bool v6_text = strchr(host, ':') != NULL;
    snprintf(where, sizeof where, v6_text ? "[%s]:%d" : "%s:%d", host, port);
    snprintf(service, sizeof service, "%d", port);

    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return error_set(err, ERR_NOTFOUND, "cannot listen on %s: cannot resolve '%s': %s", where,
                         host, gai_strerror(rc));
    const struct addrinfo *pick = found;
    for (const struct addrinfo *i = found; i != NULL; i = i->ai_next) {
        if (i->ai_family == AF_INET) {
            pick = i;
            break;
        }
    }
    union address a = {0};
    memcpy(&a, pick->ai_addr, MIN(sizeof a, (size_t)pick->ai_addrlen));
    int fd = bind_and_listen(&a, pick->ai_addrlen);
    freeaddrinfo(found);
    return fd < 0 ? listen_error(err, where, -fd) : fd;
}

/* True when the socket file is left over: nobody accepts on it. */
static bool
is_stale(const union address *a, socklen_t len)
{
    struct stat st;
    if (lstat(a->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, &a->any, len) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static int
listen_unix(const char *path, struct error *err)
{
    union address a = {.un = {.sun_family = AF_UNIX}};
    if (path[0] == '\0' || strlen(path) >= sizeof a.un.sun_path)
        return error_set(err, ERR_RANGE, "cannot listen on '%s': the path must have 1 to %zu bytes",
                         path, sizeof a.un.sun_path - 1);
    strcpy(a.un.sun_path, path);
    int fd = bind_and_listen(&a, sizeof a.un);
    if (fd == -EADDRINUSE && is_stale(&a, sizeof a.un)) {
        unlink(path);
        fd = bind_and_listen(&a, sizeof a.un);
    }
    if (fd < 0) {
        char where[sizeof a.un.sun_path + 2];
        snprintf(where, sizeof where, "'%s'", path);
        return listen_error(err, where, -fd);
    }
    return fd;
}

static int
check_inherited(int fd, struct error *err)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0 || !listening)
        return error_set(err, ERR_INVALID, "file descriptor %d is not a listening socket", fd);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return error_set(err, ERR_IO, "cannot use file descriptor %d: %s", fd, strerror(errno));
    return fd;
}

int
http_listen(const struct http_config *cfg, int *ret_fd, int *ret_port, char **ret_unlink,
            struct error *err)
{
    char *unlink_path = NULL;
    int fd;
    if (cfg->listen_fd < 0 && cfg->uds == NULL && (cfg->port < 0 || cfg->port > 65535))
        return error_set(err, ERR_RANGE, "port %d is not in 0..65535", cfg->port);
    if (cfg->listen_fd >= 0) {
        fd = check_inherited(cfg->listen_fd, err);
    } else if (cfg->uds != NULL) {
        unlink_path = strdup(cfg->uds);
        if (unlink_path == NULL)
            return error_set(err, ERR_NOMEM, "cannot listen on '%s': out of memory", cfg->uds);
        fd = listen_unix(cfg->uds, err);
    } else if (cfg->host == NULL) {
        fd = listen_all(cfg->port, err);
    } else {
        fd = listen_host(cfg->host, cfg->port, err);
    }
    if (fd < 0) {
        free(unlink_path);
        return fd;
    }
    union address a = {0};
    socklen_t len = sizeof a;
    int port = 0;
    if (getsockname(fd, &a.any, &len) == 0 && a.any.sa_family == AF_INET)
        port = ntohs(a.v4.sin_port);
    else if (a.any.sa_family == AF_INET6)
        port = ntohs(a.v6.sin6_port);
    *ret_fd = fd;
    *ret_port = port;
    *ret_unlink = unlink_path;
    return 0;
}

void
http_peer_name(const void *sockaddr, char *text, size_t text_bytes)
{
    const struct sockaddr *sa = sockaddr;
    char host[INET6_ADDRSTRLEN] = "?";
    if (sa != NULL && sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = sockaddr;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(text, text_bytes, "%s:%d", host, ntohs(v4->sin_port));
    } else if (sa != NULL && sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = sockaddr;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof host);
            snprintf(text, text_bytes, "%s:%d", host, ntohs(v6->sin6_port));
        } else {
            inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
            snprintf(text, text_bytes, "[%s]:%d", host, ntohs(v6->sin6_port));
        }
    } else {
        snprintf(text, text_bytes, "unix");
    }
}
