/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/reference.h"

#include <math.h>
#include <string.h>

/* A result of `vllm bench throughput` has other names than an online one. */
static bool
is_offline(const json_t *run)
{
    return json_object_get(run, "requests_per_second") != NULL;
}

static double
number(const json_t *run, const char *key)
{
    const json_t *value = json_object_get(run, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double
either(const json_t *run, const char *online, const char *offline)
{
    return number(run, is_offline(run) ? offline : online);
}

static const json_t *
own(const json_t *run)
{
    return json_object_get(run, is_offline(run) ? "llmd_bench" : "loadgen");
}

static double
resource(const json_t *run, const char *key)
{
    const json_t *resources = json_object_get(own(run), "resources");
    return number(json_object_get(resources, key), "mean");
}

static void
print_number(struct buf *ret, const char *format, double value)
{
    char text[64];
    snprintf(text, sizeof text, format, value);
    buf_puts(ret, isnan(value) ? "n/a" : text);
}

/* ---- the rows ---- */

static void
print_host(const json_t *run, struct buf *ret)
{
    print_number(ret, "%.1f", resource(run, "cpu_percent"));
    buf_puts(ret, " / ");
    print_number(ret, "%.1f %%", resource(run, "ram_percent"));
}

static void
print_gpu(const json_t *run, struct buf *ret)
{
    print_number(ret, "%.1f %%", resource(run, "gpu_memory_percent"));
    buf_puts(ret, " / ");
    print_number(ret, "%.0f %%", resource(run, "gpu_utilization_percent"));
}

static void
print_rate(const json_t *run, struct buf *ret)
{
    print_number(ret, "%.2f", either(run, "request_throughput", "requests_per_second"));
}

static void
print_duration(const json_t *run, struct buf *ret)
{
    double s = either(run, "duration", "elapsed_time");
    if (s >= 60)
        buf_printf(ret, "%.0f m %.0f s", floor(round(s) / 60), fmod(round(s), 60));
    else
        print_number(ret, "%.0f s", s);
}

static void
print_tokens(const json_t *run, struct buf *ret)
{
    double total = either(run, "total_token_throughput", "tokens_per_second");
    double output = is_offline(run) ? number(own(run), "output_throughput")
                                    : number(run, "output_throughput");
    print_number(ret, "%.0f", total - output);
    buf_puts(ret, " / ");
    print_number(ret, "%.0f", output);
    buf_puts(ret, " / ");
    print_number(ret, "%.0f", total);
}

/* The last part of a model's name; '|' would end the cell. */
static void
print_model(const json_t *run, struct buf *ret)
{
    const char *id = json_string_value(json_object_get(run, "model_id"));
    const char *slash = id != NULL ? strrchr(id, '/') : NULL;
    const char *name = slash != NULL && slash[1] != '\0' ? slash + 1 : id != NULL ? id : "n/a";
    for (; *name != '\0'; name++)
        buf_putc(ret, *name == '|' || (unsigned char)*name < 0x20 ? ' ' : *name);
}

static const struct {
    const char *title;
    void (*print)(const json_t *run, struct buf *ret);
} rows[] = {
    {"CPU / RAM", print_host},
    {"GPU memory / GPU util", print_gpu},
    {"req/s", print_rate},
    {"duration", print_duration},
    {"input / output / total tok/s", print_tokens},
};

/* A table of all online or of all offline runs. */
struct table {
    const struct result_set *sets;
    size_t num_sets;
    bool offline;
};

static size_t
count_columns(const struct table *t)
{
    size_t num = 0;
    for (size_t i = 0; i < t->num_sets; i++) {
        for (size_t j = 0; j < t->sets[i].len; j++)
            num += is_offline(t->sets[i].runs[j]) == t->offline;
    }
    return num;
}

static void
print_row(const struct table *t, const char *title, void (*print)(const json_t *, struct buf *),
          struct buf *ret)
{
    buf_printf(ret, "| %s |", title);
    for (size_t i = 0; i < t->num_sets; i++) {
        for (size_t j = 0; j < t->sets[i].len; j++) {
            const json_t *run = t->sets[i].runs[j];
            if (is_offline(run) != t->offline)
                continue;
            buf_putc(ret, ' ');
            print(run, ret);
            buf_puts(ret, " |");
        }
    }
    buf_putc(ret, '\n');
}

static void
print_line(const json_t *run, struct buf *ret)
{
    (void)run;
    buf_puts(ret, "---");
}

void
reference_print(const struct result_set *sets, size_t num_sets, struct buf *ret)
{
    struct table tables[] = {{sets, num_sets, true}, {sets, num_sets, false}};
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        const struct table *t = &tables[i];
        if (count_columns(t) == 0)
            continue;
        buf_puts(ret, buf_len(ret) > 0 ? "\n" : "");
        print_row(t, t->offline ? "offline" : "online", print_model, ret);
        print_row(t, "---", print_line, ret);
        for (size_t j = 0; j < ARRAY_SIZE(rows); j++)
            print_row(t, rows[j].title, rows[j].print, ret);
    }
}
