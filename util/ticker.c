/* SPDX-License-Identifier: Apache-2.0 */
#include "util/ticker.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

struct ticker {
    uint64_t period_ns;
    void (*tick)(void *arg);
    void *arg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop; /* under `lock` */
};

static void *
ticker_main(void *arg)
{
    struct ticker *t = arg;
    uint64_t at_ns = mono_ns();
    bool stop = false;
    while (!stop) {
        at_ns += t->period_ns;
        struct timespec at = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)};
        pthread_mutex_lock(&t->lock);
        while (!t->stop && pthread_cond_timedwait(&t->wake, &t->lock, &at) != ETIMEDOUT)
            ;
        stop = t->stop;
        pthread_mutex_unlock(&t->lock);
        t->tick(t->arg);
    }
    return NULL;
}

static void
ticker_free(struct ticker *t)
{
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int
ticker_start(uint64_t period_ns, void (*tick)(void *arg), void *arg, struct ticker **ret,
             struct error *err)
{
    struct ticker *t = calloc(1, sizeof *t);
    pthread_condattr_t monotonic;
    if (t == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    t->period_ns = period_ns;
    t->tick = tick;
    t->arg = arg;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&t->thread, NULL, ticker_main, t) != 0) {
        ticker_free(t);
        return error_set(err, ERR_NOMEM, "cannot start a thread");
    }
    *ret = t;
    return 0;
}

void
ticker_stop(struct ticker *t)
{
    if (t == NULL)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    ticker_free(t);
}
