/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The whole state of a parallel-for is one 64-bit word, tasks << 32 | next:
 * taking a task is one fetch_add, and the ticket it returns says by itself
 * whether it is valid. A valid ticket keeps the job open, so fn and arg cannot
 * change under its holder; an invalid one is dropped without a look at them.
 */
struct pool {
    _Alignas(CACHE_LINE) _Atomic uint64_t word;
    _Alignas(CACHE_LINE) _Atomic uint32_t num_done;
    _Atomic uint32_t caller_sleeps;
    _Alignas(CACHE_LINE) _Atomic uint32_t epoch;   /* bumped per job: what sleepers wait on */
    _Atomic uint32_t num_sleeping;
    _Atomic bool stop;

    pool_fn *fn;
    void *arg;

    int num_threads;
    int num_started;
    struct pool_thread {
        struct pool *pool;   /* borrowed */
        pthread_t id;
        int index;
    } *threads;              /* owned, [num_threads]; entry 0 is the caller */
};

/* How long a thread looks for work before it sleeps. Longer than the gap
 * between two ops of a step, shorter than a scheduler tick. */
#define SPIN_NS 30000
/* Looks between two readings of the clock. */
#define SPIN_LOOKS 64

static void
cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void
futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void
futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static bool
has_task(const struct pool *pool)
{
    uint64_t word = atomic_load_explicit(&pool->word, memory_order_seq_cst);
    return (uint32_t)word < (uint32_t)(word >> 32);
}

/* Runs tasks until none is left. */
static void
run_tasks(struct pool *pool, int thread)
{
    while (has_task(pool)) {
        uint64_t word = atomic_fetch_add_explicit(&pool->word, 1, memory_order_acq_rel);
        uint32_t task = (uint32_t)word, num_tasks = (uint32_t)(word >> 32);
        if (task >= num_tasks)
            return;
        pool->fn(pool->arg, (int)task, thread);
        uint32_t done = 1 + atomic_fetch_add_explicit(&pool->num_done, 1, memory_order_seq_cst);
        if (done == num_tasks && atomic_load_explicit(&pool->caller_sleeps, memory_order_seq_cst))
            futex_wake(&pool->num_done, 1);
    }
}

/* Returns when there may be a task, or on stop. */
static void
wait_for_task(struct pool *pool)
{
    uint64_t deadline_ns = mono_ns() + SPIN_NS;
    do {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (has_task(pool))
                return;
            cpu_relax();
        }
    } while (mono_ns() < deadline_ns);

    uint32_t epoch = atomic_load(&pool->epoch);
    atomic_fetch_add(&pool->num_sleeping, 1);
    if (!has_task(pool) && !atomic_load(&pool->stop))
        futex_wait(&pool->epoch, epoch);
    atomic_fetch_sub(&pool->num_sleeping, 1);
}

static void *
thread_main(void *arg)
{
    struct pool_thread *self = arg;
    while (!atomic_load(&self->pool->stop)) {
        run_tasks(self->pool, self->index);
        wait_for_task(self->pool);
    }
    return NULL;
}

/* Waits for the tasks that other threads are still in. */
static void
wait_for_done(struct pool *pool, uint32_t num_tasks)
{
    uint64_t deadline_ns = 0;
    for (;;) {
        for (int i = 0; i < SPIN_LOOKS; i++) {
            if (atomic_load_explicit(&pool->num_done, memory_order_acquire) == num_tasks)
                return;
            cpu_relax();
        }
        uint64_t now_ns = mono_ns();
        if (deadline_ns == 0)
            deadline_ns = now_ns + SPIN_NS;
        if (now_ns >= deadline_ns)
            break;
    }
    atomic_store(&pool->caller_sleeps, 1);
    uint32_t done;
    while ((done = atomic_load(&pool->num_done)) != num_tasks)
        futex_wait(&pool->num_done, done);
    atomic_store(&pool->caller_sleeps, 0);
}

void
pool_run(struct pool *pool, int num_tasks, pool_fn *fn, void *arg)
{
    if (num_tasks <= 0)
        return;
    if (num_tasks == 1 || pool->num_threads == 1) {
        for (int i = 0; i < num_tasks; i++)
            fn(arg, i, 0);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    atomic_store_explicit(&pool->num_done, 0, memory_order_relaxed);
    atomic_store(&pool->word, (uint64_t)(uint32_t)num_tasks << 32);
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->num_sleeping) > 0)
        futex_wake(&pool->epoch, MIN(num_tasks, pool->num_threads) - 1);
    run_tasks(pool, 0);
    wait_for_done(pool, (uint32_t)num_tasks);
}

int
pool_num_threads(const struct pool *pool)
{
    return pool->num_threads;
}

/* Compute threads take no signals: those belong to the loop thread. */
static int
start_thread(struct pool_thread *thread)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&thread->id, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return rc;
    char name[16];
    snprintf(name, sizeof name, "llmd-cpu-%d", thread->index);
    pthread_setname_np(thread->id, name);
    return 0;
}

int
pool_new(int num_threads, struct pool **ret_pool, struct error *err)
{
    ASSERT(num_threads >= 1);
    struct pool *pool = aligned_alloc(CACHE_LINE, ROUND_UP(sizeof *pool, CACHE_LINE));
    if (pool == NULL)
        return error_set(err, ERR_NOMEM, "cannot start %d compute threads: out of memory",
                         num_threads);
    memset(pool, 0, sizeof *pool);
    pool->num_threads = num_threads;
    pool->num_started = 1;
    pool->threads = calloc((size_t)num_threads, sizeof *pool->threads);
    if (pool->threads == NULL) {
        pool_free(pool);
        return error_set(err, ERR_NOMEM, "cannot start %d compute threads: out of memory",
                         num_threads);
    }
    for (int i = 1; i < num_threads; i++) {
        pool->threads[i].pool = pool;
        pool->threads[i].index = i;
        int rc = start_thread(&pool->threads[i]);
        if (rc != 0) {
            pool_free(pool);
            return error_set(err, ERR_NOMEM, "cannot start compute thread %d of %d: %s", i,
                             num_threads, strerror(rc));
        }
        pool->num_started = i + 1;
    }
    *ret_pool = pool;
    return 0;
}

void
pool_free(struct pool *pool)
{
    if (pool == NULL)
        return;
    atomic_store(&pool->stop, true);
    atomic_fetch_add(&pool->epoch, 1);
    futex_wake(&pool->epoch, pool->num_threads);
    for (int i = 1; pool->threads != NULL && i < pool->num_started; i++)
        pthread_join(pool->threads[i].id, NULL);
    free(pool->threads);
    free(pool);
}
