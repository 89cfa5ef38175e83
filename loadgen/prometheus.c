/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/prometheus.h"

#include <math.h>
#include <string.h>

/* What a line says: name{labels} value. */
struct line {
    const char *name, *labels; /* not terminated */
    size_t name_len, labels_len;
    double value;
};

/* A name whose value goes to a field, `scale` times. */
static const struct {
    const char *name;
    size_t offset;
    double scale;
} plain[] = {
#define TO(field) offsetof(struct machine_reading, field)
    {"llmd_host_cpu_busy_seconds_total", TO(cpu_busy_total_s), 1},
    {"llmd_host_cpu_seconds_total", TO(cpu_total_s), 1},
    {"llmd_host_memory_total_bytes", TO(memory_total_bytes), 1},
    {"llmd_host_memory_available_bytes", TO(memory_available_bytes), 1},
    {"node_memory_MemTotal_bytes", TO(memory_total_bytes), 1},
    {"node_memory_MemAvailable_bytes", TO(memory_available_bytes), 1},
    {"process_cpu_seconds_total", TO(process_cpu_total_s), 1},
    {"process_resident_memory_bytes", TO(process_rss_bytes), 1},
    {"llmd_gpu_memory_used_bytes", TO(gpu_memory_used), 1},
    {"llmd_gpu_memory_total_bytes", TO(gpu_memory_total), 1},
    {"llmd_gpu_utilization_ratio", TO(gpu_utilization), 1},
    {"llmd_gpu_power_watts", TO(gpu_power_w), 1},
    {"llmd_gpu_energy_joules_total", TO(gpu_energy_total_j), 1},
    {"DCGM_FI_DEV_FB_USED", TO(gpu_memory_used), 1},
    {"DCGM_FI_DEV_GPU_UTIL", TO(gpu_utilization), 0.01},
    {"DCGM_FI_DEV_POWER_USAGE", TO(gpu_power_w), 1},
    {"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", TO(gpu_energy_total_j), 0.001},
#undef TO
};

void
machine_reading_init(struct machine_reading *r)
{
    *r = (struct machine_reading){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
}

static bool
is(const struct line *l, const char *name)
{
    return l->name_len == strlen(name) && memcmp(l->name, name, l->name_len) == 0;
}

static bool
has_label(const struct line *l, const char *label)
{
    return memmem(l->labels, l->labels_len, label, strlen(label)) != NULL;
}

static void
add(double *sum, double value)
{
    *sum = isnan(*sum) ? value : *sum + value;
}

/* Where the labels end that begin at `at`: after the brace outside of quotes. */
static const char *
end_of_labels(const char *at, const char *end)
{
    bool quoted = false;
    for (; at < end; at++) {
        if (*at == '\\' && quoted)
            at++;
        else if (*at == '"')
            quoted = !quoted;
        else if (*at == '}' && !quoted)
            return at + 1;
    }
    return NULL;
}

/* All that strtod passes over: it must not find a number beyond the line. */
static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* `*end` is the line end: a number stops there, if not before it. */
static bool
read_line(const char *text, const char *end, struct line *ret)
{
    const char *p = text;
    char *number_end;
    while (p < end && *p != '{' && *p != ' ' && *p != '\t')
        p++;
    ret->name = text;
    ret->name_len = (size_t)(p - text);
    ret->labels = p;
    if (p < end && *p == '{')
        p = end_of_labels(p, end);
    if (p == NULL || ret->name_len == 0 || text[0] == '#')
        return false;
    ret->labels_len = (size_t)(p - ret->labels);
    while (p < end && is_space(*p))
        p++;
    if (p == end)
        return false;
    ret->value = strtod(p, &number_end);
    return number_end > p && is_space(*number_end);
}

static void
take_line(struct machine_reading *r, const struct line *l)
{
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        if (is(l, plain[i].name))
            *(double *)((char *)r + plain[i].offset) = l->value * plain[i].scale;
    }
    /* node_exporter: a line for each processor and mode. */
    if (is(l, "node_cpu_seconds_total")) {
        bool idle = has_label(l, "mode=\"idle\"") || has_label(l, "mode=\"iowait\"");
        add(&r->cpu_total_s, l->value);
        add(&r->cpu_busy_total_s, idle ? 0 : l->value);
    }
}

void
machine_reading_add(struct machine_reading *r, const char *page, size_t len)
{
    const char *end = page + len;
    double gpu_free = NAN;
    while (page < end) {
        const char *line_end = memchr(page, '\n', (size_t)(end - page));
        struct line l;
        if (line_end == NULL)
            return; /* a line that is not whole */
        if (read_line(page, line_end, &l)) {
            take_line(r, &l);
            if (is(&l, "DCGM_FI_DEV_FB_FREE"))
                gpu_free = l.value;
        }
        page = line_end + 1;
        if (!isnan(gpu_free))
            r->gpu_memory_total = r->gpu_memory_used + gpu_free;
    }
}
