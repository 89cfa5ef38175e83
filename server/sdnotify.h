/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What systemd is told (sd_notify(3)'s datagram protocol) and what it hands
 * over (sd_listen_fds(3)), without its library. Everything is a no-op when the
 * environment names no systemd. Loop thread.
 */
#ifndef SERVER_SDNOTIFY_H
#define SERVER_SDNOTIFY_H

#include "util/base.h"

struct sdnotify {
    int fd;                     /* owned datagram socket, or -1 */
    uint64_t watchdog_ns;       /* interval systemd expects, 0 = none */
};

/* `notify_socket`, `watchdog_usec`: the environment's values, may be NULL. */
void sdnotify_init(struct sdnotify *n, const char *notify_socket, const char *watchdog_usec);
void sdnotify_release(struct sdnotify *n);
/* Sends lines such as "READY=1\nSTATUS=serving". */
void sdnotify_send(const struct sdnotify *n, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The socket systemd listens on for us, or -1. */
int sdnotify_listen_fd(const char *listen_pid, const char *listen_fds);

#endif
