/* SPDX-License-Identifier: Apache-2.0 */
#include "server/sdnotify.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_FDS_START 3

/* A path, or a name in the abstract namespace when it begins with '@'. */
static bool
make_address(const char *name, struct sockaddr_un *addr, socklen_t *len)
{
    size_t n = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof addr->sun_path)
        return false;
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(addr->sun_path, name, n);
    if (name[0] == '@')
        addr->sun_path[0] = '\0';
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    return true;
}

void
sdnotify_init(struct sdnotify *n, const char *notify_socket, const char *watchdog_usec)
{
    *n = (struct sdnotify){.fd = -1};
    struct sockaddr_un addr;
    socklen_t len;
    if (notify_socket == NULL || !make_address(notify_socket, &addr, &len))
        return;
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd >= 0 && connect(n->fd, (struct sockaddr *)&addr, len) < 0) {
        close(n->fd);
        n->fd = -1;
    }
    if (watchdog_usec != NULL)
        n->watchdog_ns = strtoull(watchdog_usec, NULL, 10) * 1000;
}

void
sdnotify_release(struct sdnotify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

void
sdnotify_send(const struct sdnotify *n, const char *fmt, ...)
{
    if (n->fd < 0)
        return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len > 0)
        (void)!send(n->fd, text, MIN((size_t)len, sizeof text - 1), MSG_NOSIGNAL);
}

int
sdnotify_listen_fd(const char *listen_pid, const char *listen_fds)
{
    if (listen_pid == NULL || listen_fds == NULL
        || strtol(listen_pid, NULL, 10) != (long)getpid() || strtol(listen_fds, NULL, 10) < 1)
        return -1;
    return LISTEN_FDS_START;
}
