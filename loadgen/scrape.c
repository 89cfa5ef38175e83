/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/scrape.h"
#include "loadgen/prometheus.h"
#include "util/buf.h"
#include "util/ticker.h"

#include <curl/curl.h>
#include <string.h>

#define PERIOD_NS 1000000000
#define TIMEOUT_MS 2000L
#define PAGE_BYTES_MAX (16u << 20)

struct scrape {
    char *urls; /* owned */
    CURL *easy; /* owned; its thread's alone while that runs */
    struct ticker *ticker; /* owned; NULL: stopped */
    bool has_last;
    struct machine_reading last;
    uint64_t last_ns;
    struct monitor_series series;
};

static size_t
on_page(char *bytes, size_t size, size_t count, void *arg)
{
    struct buf *page = arg;
    if (buf_len(page) + size * count > PAGE_BYTES_MAX)
        return 0;
    buf_append(page, bytes, size * count);
    return size * count;
}

/* All pages into one reading; a page that does not come leaves NANs. */
static void
read_pages(struct scrape *s, struct machine_reading *ret)
{
    machine_reading_init(ret);
    for (const char *p = s->urls; *p != '\0';) {
        size_t len = strcspn(p, ",");
        struct buf url = {0}, page = {0};
        buf_append(&url, p, len);
        curl_easy_setopt(s->easy, CURLOPT_URL, buf_bytes(&url));
        curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, &page);
        if (curl_easy_perform(s->easy) == CURLE_OK)
            machine_reading_add(ret, buf_bytes(&page), buf_len(&page));
        buf_release(&url);
        buf_release(&page);
        p += len + (p[len] == ',');
    }
}

static void
fill_sample(const struct scrape *s, const struct machine_reading *now, uint64_t now_ns,
            struct monitor_sample *ret)
{
    const struct machine_reading *last = &s->last;
    double *v = ret->values, s_between = (double)(now_ns - s->last_ns) / 1e9;
    ret->time_ns = now_ns;
    v[MONITOR_CPU_PERCENT] = monitor_percent(now->cpu_busy_total_s - last->cpu_busy_total_s,
                                     now->cpu_total_s - last->cpu_total_s);
    v[MONITOR_RAM_PERCENT] = monitor_percent(now->memory_total_bytes - now->memory_available_bytes,
                                     now->memory_total_bytes);
    v[MONITOR_GPU_MEMORY_PERCENT] = monitor_percent(now->gpu_memory_used, now->gpu_memory_total);
    v[MONITOR_GPU_UTIL_PERCENT] = now->gpu_utilization * 100;
    v[MONITOR_GPU_POWER_W] = now->gpu_power_w;
    v[MONITOR_PROCESS_CPU_PERCENT] =
        monitor_percent(now->process_cpu_total_s - last->process_cpu_total_s, s_between);
    v[MONITOR_PROCESS_RSS_BYTES] = now->process_rss_bytes;
    ret->energy_j = now->gpu_energy_total_j;
}

/* The first reading is only what the next one counts from. */
static void
take_sample(void *arg)
{
    struct scrape *s = arg;
    struct machine_reading now;
    uint64_t now_ns = mono_ns();
    read_pages(s, &now);
    struct monitor_sample *sample = s->has_last ? monitor_series_add(&s->series) : NULL;
    if (sample != NULL)
        fill_sample(s, &now, now_ns, sample);
    s->last = now;
    s->last_ns = now_ns;
    s->has_last = true;
}

static CURL *
new_easy(bool insecure)
{
    CURL *e = curl_easy_init();
    if (e == NULL)
        return NULL;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_page);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L);
    return e;
}

int
scrape_start(const char *urls, bool insecure, struct scrape **ret, struct error *err)
{
    struct scrape *s = calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    s->urls = strdup(urls);
    s->easy = new_easy(insecure);
    int e = s->urls == NULL || s->easy == NULL ? error_set(err, ERR_NOMEM, "out of memory") : 0;
    if (e == 0) {
        take_sample(s);
        e = ticker_start(PERIOD_NS, take_sample, s, &s->ticker, err);
    }
    if (e < 0)
        scrape_free(s);
    else
        *ret = s;
    return e;
}

const struct monitor_series *
scrape_stop(struct scrape *s)
{
    ticker_stop(s->ticker);
    s->ticker = NULL;
    return &s->series;
}

void
scrape_free(struct scrape *s)
{
    if (s == NULL)
        return;
    scrape_stop(s);
    curl_easy_cleanup(s->easy);
    monitor_series_release(&s->series);
    free(s->urls);
    free(s);
}
