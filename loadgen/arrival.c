/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/arrival.h"

#include <linux/net_tstamp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define AGE_MAX_NS 60000000000 /* more is a clock that was set */

void
arrival_watch(int socket)
{
    int flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags);
}

static int64_t
timespec_ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* How long ago a stamp was, which is in CLOCK_REALTIME; 0: not known. */
static uint64_t
age_ns(const struct cmsghdr *stamped)
{
    struct timespec stamp, now;
    memcpy(&stamp, CMSG_DATA(stamped), sizeof stamp);
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = timespec_ns(&now) - timespec_ns(&stamp);
    return stamp.tv_sec != 0 && age > 0 && age < AGE_MAX_NS ? (uint64_t)age : 0;
}

ssize_t
arrival_receive(int socket, void *bytes, size_t len, int flags, uint64_t *ret_ns)
{
    union {
        struct cmsghdr header;
        char bytes[256];
    } control;
    struct iovec vec = {bytes, len};
    struct msghdr message = {.msg_iov = &vec, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    uint64_t age = 0;
    ssize_t n = recvmsg(socket, &message, flags | MSG_DONTWAIT);
    if (n > 0) {
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h != NULL; h = CMSG_NXTHDR(&message, h)) {
            if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SO_TIMESTAMPING)
                age = age_ns(h);
        }
    }
    *ret_ns = mono_ns() - age;
    return n;
}
