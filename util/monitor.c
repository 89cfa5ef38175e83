/* SPDX-License-Identifier: Apache-2.0 */
#include "util/monitor.h"
#include "util/nvml.h"
#include "util/procfs.h"
#include "util/ticker.h"

#include <math.h>

#define PERIOD_NS 100000000

/* What a rate is made from: the counters of the sample before. */
struct counters {
    uint64_t time_ns;
    struct procfs_host host;
    struct procfs_process process;
};

struct monitor {
    struct monitor_args args;
    struct nvml *nvml;     /* owned; NULL: no GPU */
    struct ticker *ticker; /* owned; NULL: stopped */
    struct counters last;
    struct monitor_series series;
};

/* ---- series ---- */

struct monitor_sample *
monitor_series_add(struct monitor_series *s)
{
    if (s->len == s->cap) {
        size_t cap = MAX(s->cap * 2, (size_t)256);
        struct monitor_sample *samples = reallocarray(s->samples, cap, sizeof *samples);
        if (samples == NULL)
            return NULL;
        s->samples = samples;
        s->cap = cap;
    }
    return &s->samples[s->len++];
}

void
monitor_series_release(struct monitor_series *s)
{
    free(s->samples);
    *s = (struct monitor_series){0};
}

double
monitor_percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : NAN;
}

/* ---- samples ---- */

static void
read_counters(const struct monitor *m, struct counters *ret)
{
    ret->time_ns = mono_ns();
    procfs_read_host(m->args.proc_root, &ret->host);
    ret->process = (struct procfs_process){NAN, NAN};
    if (m->args.pid != 0)
        procfs_read_process(m->args.proc_root, m->args.pid, &ret->process);
}

static void
fill_sample(const struct monitor *m, const struct counters *now, struct monitor_sample *ret)
{
    const struct counters *last = &m->last;
    struct nvml_reading gpu;
    nvml_read(m->nvml, &gpu);
    double *v = ret->values;
    ret->time_ns = now->time_ns;
    v[MONITOR_CPU_PERCENT] = monitor_percent(now->host.cpu_busy_s - last->host.cpu_busy_s,
                                     now->host.cpu_total_s - last->host.cpu_total_s);
    v[MONITOR_RAM_PERCENT] = monitor_percent(now->host.memory_total_bytes -
                                         now->host.memory_available_bytes,
                                     now->host.memory_total_bytes);
    v[MONITOR_GPU_MEMORY_PERCENT] = monitor_percent(gpu.memory_used_bytes, gpu.memory_total_bytes);
    v[MONITOR_GPU_UTIL_PERCENT] = gpu.utilization * 100;
    v[MONITOR_GPU_POWER_W] = gpu.power_w;
    v[MONITOR_PROCESS_CPU_PERCENT] = monitor_percent(now->process.cpu_s - last->process.cpu_s,
                                             (double)(now->time_ns - last->time_ns) / 1e9);
    v[MONITOR_PROCESS_RSS_BYTES] = now->process.rss_bytes;
    ret->energy_j = gpu.energy_j;
}

static void
take_sample(void *arg)
{
    struct monitor *m = arg;
    struct counters now;
    struct monitor_sample *sample = monitor_series_add(&m->series);
    if (sample == NULL)
        return;
    read_counters(m, &now);
    fill_sample(m, &now, sample);
    m->last = now;
}

/* ---- life ---- */

int
monitor_start(const struct monitor_args *args, struct monitor **ret, struct error *err)
{
    struct monitor *m = calloc(1, sizeof *m);
    if (m == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    m->args = *args;
    if (m->args.proc_root == NULL)
        m->args.proc_root = "/proc";
    m->nvml = nvml_open(args->nvml_library, args->gpu_index);
    read_counters(m, &m->last);
    int e = ticker_start(PERIOD_NS, take_sample, m, &m->ticker, err);
    if (e < 0)
        monitor_free(m);
    else
        *ret = m;
    return e;
}

const struct monitor_series *
monitor_stop(struct monitor *m)
{
    ticker_stop(m->ticker);
    m->ticker = NULL;
    return &m->series;
}

void
monitor_free(struct monitor *m)
{
    if (m == NULL)
        return;
    monitor_stop(m);
    nvml_close(m->nvml);
    monitor_series_release(&m->series);
    free(m);
}
