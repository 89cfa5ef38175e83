/* SPDX-License-Identifier: Apache-2.0 */
#include "server/metrics_host.h"

#include "util/nvml.h"
#include "util/procfs.h"
#include "util/ticker.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#define PERIOD_NS 1000000000
#define GPU_INDEX 0
#define GPU_LABELS "{gpu=\"0\"}"

static const struct nvml_reading no_gpu = {NAN, NAN, NAN, NAN, NAN};

struct metrics_host {
    struct metrics_host_args args;
    struct ticker *ticker;   /* owned; NULL: no page has been asked for */
    pthread_mutex_t lock;
    struct nvml_reading gpu; /* under `lock` */
    struct nvml *nvml;       /* owned; the thread's; NULL: no GPU */
    bool is_opened;          /* the thread's */
};

/* ---- life ---------------------------------------------------------------- */

struct metrics_host *
metrics_host_new(const struct metrics_host_args *args)
{
    struct metrics_host *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->args = *args;
    if (h->args.proc_root == NULL)
        h->args.proc_root = "/proc";
    h->gpu = no_gpu;
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

void
metrics_host_free(struct metrics_host *h)
{
    if (h == NULL)
        return;
    ticker_stop(h->ticker);
    nvml_close(h->nvml);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* The thread: `lock` is not held while the driver works. */
static void
read_gpu(void *arg)
{
    struct metrics_host *h = arg;
    struct nvml_reading gpu;
    if (!h->is_opened)
        h->nvml = nvml_open(h->args.nvml_library, GPU_INDEX);
    h->is_opened = true;
    nvml_read(h->nvml, &gpu);
    pthread_mutex_lock(&h->lock);
    h->gpu = gpu;
    pthread_mutex_unlock(&h->lock);
}

/* The last reading. The thread begins with the first page: a server that nobody
 * scrapes never loads the driver's library. */
static struct nvml_reading
last_gpu(struct metrics_host *h)
{
    if (h->ticker == NULL && ticker_start(PERIOD_NS, read_gpu, h, &h->ticker, NULL) < 0)
        return no_gpu; /* the next page tries again */
    pthread_mutex_lock(&h->lock);
    struct nvml_reading gpu = h->gpu;
    pthread_mutex_unlock(&h->lock);
    return gpu;
}

/* ---- text ---------------------------------------------------------------- */

static void
print_family(struct buf *out, const char *name, const char *labels, const char *type,
             const char *help, double value)
{
    if (!isnan(value))
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s%s %.17g\n", name, help, name, type, name,
                   labels, value);
}

static void
print_gpu(const struct nvml_reading *gpu, struct buf *out)
{
    print_family(out, "llmd_gpu_memory_total_bytes", GPU_LABELS, "gauge", "Memory of the GPU.",
                 gpu->memory_total_bytes);
    print_family(out, "llmd_gpu_memory_used_bytes", GPU_LABELS, "gauge",
                 "Memory in use, by any process.", gpu->memory_used_bytes);
    print_family(out, "llmd_gpu_utilization_ratio", GPU_LABELS, "gauge",
                 "Share of the driver's last period in which a kernel ran, 0 to 1.",
                 gpu->utilization);
    print_family(out, "llmd_gpu_power_watts", GPU_LABELS, "gauge", "Power drawn.", gpu->power_w);
    print_family(out, "llmd_gpu_energy_joules_total", GPU_LABELS, "counter",
                 "Energy since the driver was loaded.", gpu->energy_j);
}

void
metrics_host_write(struct metrics_host *h, struct buf *ret)
{
    struct procfs_host host;
    struct nvml_reading gpu = last_gpu(h);
    procfs_read_host(h->args.proc_root, &host);
    print_family(ret, "llmd_host_cpu_busy_seconds_total", "", "counter",
                 "Time of all processors, neither idle nor waiting for a disk.", host.cpu_busy_s);
    print_family(ret, "llmd_host_cpu_seconds_total", "", "counter", "Time of all processors.",
                 host.cpu_total_s);
    print_family(ret, "llmd_host_memory_total_bytes", "", "gauge", "Memory of the machine.",
                 host.memory_total_bytes);
    print_family(ret, "llmd_host_memory_available_bytes", "", "gauge",
                 "Memory that programs could still get.", host.memory_available_bytes);
    print_gpu(&gpu, ret);
}

static int
count_open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return MAX(n - 3, 0); /* ".", "..", and the directory itself */
}

void
metrics_host_write_process(int64_t started_s, struct buf *ret)
{
    struct rusage u = {0};
    struct rlimit limit = {0};
    unsigned long pages = 0, resident = 0;
    getrusage(RUSAGE_SELF, &u);
    getrlimit(RLIMIT_NOFILE, &limit);
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%lu %lu", &pages, &resident) != 2)
            pages = resident = 0;
        fclose(f);
    }
    double page = (double)sysconf(_SC_PAGESIZE);
    double cpu_s = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec)
                   + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    print_family(ret, "process_virtual_memory_bytes", "", "gauge", "Virtual memory.",
                 (double)pages * page);
    print_family(ret, "process_resident_memory_bytes", "", "gauge", "Resident memory.",
                 (double)resident * page);
    print_family(ret, "process_start_time_seconds", "", "gauge", "Start, in unix time.",
                 (double)started_s);
    print_family(ret, "process_cpu_seconds_total", "", "counter", "User and system time.", cpu_s);
    print_family(ret, "process_open_fds", "", "gauge", "Open descriptors.", count_open_fds());
    print_family(ret, "process_max_fds", "", "gauge", "Most descriptors.",
                 (double)limit.rlim_cur);
}
