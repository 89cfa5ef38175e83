/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/resources.h"
#include "loadgen/scrape.h"
#include "util/json.h"
#include "util/monitor.h"
#include "util/procfs.h"
#include "util/samples.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <ifaddrs.h>
#include <math.h>
#include <netdb.h>
#include <string.h>

struct resources {
    struct monitor *monitor; /* owned; one of the two is there */
    struct scrape *scrape;   /* owned */
    char *urls;              /* owned; NULL: local */
    const struct monitor_series *series; /* after resources_stop */
    struct samples values[NUM_MONITOR_VALUES];
    double joules_per_token;
};

/* By enum monitor_value; a label only for what the table shows. */
static const struct {
    const char *key, *label;
} names[NUM_MONITOR_VALUES] = {
    [MONITOR_CPU_PERCENT] = {"cpu_percent", "CPU usage (%):"},
    [MONITOR_RAM_PERCENT] = {"ram_percent", "RAM usage (%):"},
    [MONITOR_GPU_MEMORY_PERCENT] = {"gpu_memory_percent", "GPU memory usage (%):"},
    [MONITOR_GPU_UTIL_PERCENT] = {"gpu_utilization_percent", "GPU utilization (%):"},
    [MONITOR_GPU_POWER_W] = {"gpu_power_w", "GPU power (W):"},
    [MONITOR_PROCESS_CPU_PERCENT] = {"server_cpu_percent", "Server CPU (% of one processor):"},
    [MONITOR_PROCESS_RSS_BYTES] = {"server_rss_bytes", NULL},
};

/* ---- where the server is ---- */

static bool
same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a == NULL || b == NULL || a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 && memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                                              &((const struct sockaddr_in6 *)b)->sin6_addr,
                                              sizeof(struct in6_addr)) == 0;
}

/* Whether an interface of this machine has one of the addresses of a name. */
static bool
is_own_name(const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    struct ifaddrs *own = NULL;
    bool is_own = false;
    if (getaddrinfo(host, NULL, &hints, &found) == 0 && getifaddrs(&own) == 0) {
        for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
            bool loops = a->ai_family == AF_INET &&
                         ntohl(((const struct sockaddr_in *)a->ai_addr)->sin_addr.s_addr) >> 24 ==
                             127;
            is_own = is_own || loops;
            for (const struct ifaddrs *i = own; i != NULL; i = i->ifa_next)
                is_own = is_own || same_address(a->ai_addr, i->ifa_addr);
        }
    }
    if (found != NULL)
        freeaddrinfo(found);
    if (own != NULL)
        freeifaddrs(own);
    return is_own;
}

/* Whether a URL leads to this machine, and its port. */
static bool
is_local(const char *url, unsigned *ret_port)
{
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    bool local = false;
    *ret_port = 0;
    if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        size_t len = strlen(host);
        if (host[0] == '[' && len > 1) { /* of an IPv6 address */
            host[len - 1] = '\0';
            local = is_own_name(host + 1);
        } else {
            local = is_own_name(host);
        }
        *ret_port = (unsigned)strtoul(port, NULL, 10);
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return local;
}

/* ---- start and stop ---- */

static int
start_local(struct resources *r, const struct resources_args *args, unsigned port,
            struct error *err)
{
    struct monitor_args monitor = {.pid = args->pid, .gpu_index = args->gpu_index};
    if (monitor.pid == 0 && port != 0)
        monitor.pid = procfs_find_listener("/proc", port);
    return monitor_start(&monitor, &r->monitor, err);
}

static int
start_remote(struct resources *r, const struct resources_args *args, bool given,
             struct error *err)
{
    struct buf urls = {0};
    buf_puts(&urls, given ? args->monitor : args->base_url);
    buf_puts(&urls, given ? "" : "/metrics");
    r->urls = buf_take(&urls, NULL);
    if (r->urls == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    return scrape_start(r->urls, args->insecure, &r->scrape, err);
}

int
resources_start(const struct resources_args *args, struct resources **ret, struct error *err)
{
    unsigned port;
    if (strcmp(args->monitor, "off") == 0)
        return 0;
    bool is_auto = strcmp(args->monitor, "auto") == 0;
    bool wants_local = strcmp(args->monitor, "local") == 0;
    if (!is_auto && !wants_local && strstr(args->monitor, "://") == NULL)
        return error_set(err, ERR_INVALID, "option '--monitor': '%.100s' is not auto, local, off "
                                           "or a URL", args->monitor);
    struct resources *r = calloc(1, sizeof *r);
    if (r == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    bool local = is_local(args->base_url, &port);
    int e = wants_local || (is_auto && local) ? start_local(r, args, local ? port : 0, err)
                                              : start_remote(r, args, !is_auto, err);
    if (e < 0)
        resources_free(r);
    else
        *ret = r;
    return e;
}

/* Energy by the counter, else by the mean power. */
static double
find_energy_j(const struct resources *r, const struct monitor_sample *first,
              const struct monitor_sample *last)
{
    if (first == NULL || last == first)
        return NAN;
    if (!isnan(last->energy_j - first->energy_j))
        return last->energy_j - first->energy_j;
    const struct samples *power_w = &r->values[MONITOR_GPU_POWER_W];
    double seconds = (double)(last->time_ns - first->time_ns) / 1e9;
    return power_w->len == 0 ? NAN : samples_mean(power_w) * seconds;
}

void
resources_stop(struct resources *r, uint64_t from_ns, uint64_t to_ns, int64_t output_tokens)
{
    const struct monitor_sample *first = NULL, *last = NULL;
    r->series = r->monitor != NULL ? monitor_stop(r->monitor) : scrape_stop(r->scrape);
    for (size_t i = 0; i < r->series->len; i++) {
        const struct monitor_sample *s = &r->series->samples[i];
        bool inside = to_ns == 0 || (s->time_ns >= from_ns && s->time_ns <= to_ns);
        /* A run shorter than the period has at least the sample of its end. */
        if (!inside && !(first == NULL && i + 1 == r->series->len))
            continue;
        first = first == NULL ? s : first;
        last = s;
        for (size_t v = 0; v < NUM_MONITOR_VALUES; v++) {
            if (!isnan(s->values[v]))
                samples_record(&r->values[v], s->values[v]);
        }
    }
    r->joules_per_token = find_energy_j(r, first, last) /
                          (output_tokens > 0 ? (double)output_tokens : NAN);
}

void
resources_free(struct resources *r)
{
    if (r == NULL)
        return;
    monitor_free(r->monitor);
    scrape_free(r->scrape);
    for (size_t v = 0; v < NUM_MONITOR_VALUES; v++)
        samples_release(&r->values[v]);
    free(r->urls);
    free(r);
}

/* ---- what is written ---- */

static void
write_row(struct buf *ret, const char *label, double value)
{
    if (isnan(value))
        buf_printf(ret, "%-40s %-10s\n", label, "n/a");
    else
        buf_printf(ret, "%-40s %-10.2f\n", label, value);
}

void
resources_write_rows(const struct resources *r, struct buf *ret)
{
    for (size_t v = 0; v < NUM_MONITOR_VALUES; v++) {
        const struct samples *s = &r->values[v];
        if (names[v].label != NULL)
            write_row(ret, names[v].label, s->len > 0 ? samples_mean(s) : NAN);
    }
    write_row(ret, "Energy per output token (J):", r->joules_per_token);
}

static void
write_summary(struct buf *ret, const struct samples *values)
{
    struct samples s = *values; /* percentiles sort a copy of its own */
    if (s.len == 0) {
        buf_puts(ret, "null");
        return;
    }
    buf_puts(ret, "{\"mean\": ");
    json_write_double(ret, samples_mean(&s));
    buf_puts(ret, ", \"p95\": ");
    json_write_double(ret, samples_percentile(&s, 95));
    buf_puts(ret, ", \"max\": ");
    json_write_double(ret, samples_percentile(&s, 100));
    buf_putc(ret, '}');
    if (s.sorted != values->sorted)
        free(s.sorted);
}

static void
write_series(struct buf *ret, const struct monitor_series *series)
{
    buf_puts(ret, ", \"series\": {\"times_s\": [");
    for (size_t i = 0; i < series->len; i++) {
        buf_puts(ret, i > 0 ? ", " : "");
        json_write_double(ret, (double)series->samples[i].time_ns / 1e9);
    }
    buf_putc(ret, ']');
    for (size_t v = 0; v < NUM_MONITOR_VALUES; v++) {
        buf_printf(ret, ", \"%s\": [", names[v].key);
        for (size_t i = 0; i < series->len; i++) {
            buf_puts(ret, i > 0 ? ", " : "");
            json_write_double(ret, series->samples[i].values[v]); /* NAN is null */
        }
        buf_putc(ret, ']');
    }
    buf_putc(ret, '}');
}

void
resources_write_json(const struct resources *r, bool detailed, struct buf *ret)
{
    const char *source = r->urls != NULL ? r->urls : "local";
    buf_puts(ret, "{\"source\": ");
    json_write_string(ret, source, strlen(source));
    for (size_t v = 0; v < NUM_MONITOR_VALUES; v++) {
        buf_printf(ret, ", \"%s\": ", names[v].key);
        write_summary(ret, &r->values[v]);
    }
    buf_puts(ret, ", \"energy_per_output_token_j\": ");
    json_write_double(ret, r->joules_per_token);
    if (detailed)
        write_series(ret, r->series);
    buf_putc(ret, '}');
}
