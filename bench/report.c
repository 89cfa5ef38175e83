/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/report.h"
#include "bench/machine.h"
#include "util/json.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

struct resources *
report_watch(const struct bench_config *c)
{
    struct resources *r = NULL;
    struct error err = {0};
    struct resources_args args = {
        .monitor = "local",
        .base_url = "",
        .pid = getpid(),
        .gpu_index = (unsigned)c->gpu,
    };
    if (resources_start(&args, &r, &err) < 0)
        fprintf(stderr, "llmd-bench: resources are not shown: %s\n", err.text);
    return r;
}

int
report_init(struct report *r, const struct bench_config *c, const struct engine_info *info,
            struct error *err)
{
    struct model_config model;
    *r = (struct report){.config = c, .info = info, .floor_s = NAN};
    if (!c->roofline)
        return 0;
    if (strncmp(info->device, "cpu", 3) != 0)
        return error_set(err, ERR_UNSUPPORTED, "option '--roofline': only the limits of the CPU "
                                               "can be measured here, not those of '%s'",
                         info->device);
    int e = model_config_read(c->model, &model, err);
    if (e < 0)
        return e;
    bool f32 = strcmp(info->dtype, "float32") == 0;
    roofline_model_init(&r->model, &model, f32 ? DTYPE_F32 : DTYPE_BF16);
    r->limits = machine_measure((int)c->engine.threads);
    return r->limits.read_bytes_per_s > 0 ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

void
report_set_work(struct report *r, const struct report_work *work)
{
    r->output_tokens_per_s = (double)work->output_tokens / work->elapsed_s;
    const struct roofline_batching batching = {.max_seqs = r->info->max_num_seqs};
    if (r->config->roofline && work->num > 0)
        r->floor_s = roofline_s(&r->model, &r->limits, &batching, work->sequences, work->num);
}

static void
write_row(struct buf *ret, const char *label, double value)
{
    buf_printf(ret, "%-40s %-10.2f\n", label, value);
}

static double
floor_tokens_per_s(const struct report *r, const struct report_work *work)
{
    return (double)work->output_tokens / r->floor_s;
}

void
report_write_rows(const struct report *r, const struct report_work *work, struct buf *ret)
{
    write_row(ret, "Output token throughput (tok/s):", r->output_tokens_per_s);
    if (!isnan(r->floor_s)) {
        write_row(ret, "Read bandwidth (GB/s):", r->limits.read_bytes_per_s / 1e9);
        write_row(ret, "FMA peak, f32 (GFLOP/s):", r->limits.flops_per_s / 1e9);
        write_row(ret, "Output token throughput of the floor:", floor_tokens_per_s(r, work));
        write_row(ret, "Reached of the floor (%):", 100 * r->floor_s / work->elapsed_s);
    }
    if (r->resources != NULL)
        resources_write_rows(r->resources, ret);
}

static void
write_member(struct buf *b, const char *key, double value)
{
    buf_printf(b, ", \"%s\": ", key);
    json_write_double(b, value);
}

void
report_write_json(const struct report *r, const struct report_work *work, struct buf *b)
{
    buf_puts(b, "\"llmd_bench\": {\"version\": \"" PACKAGE_VERSION "\"");
    buf_puts(b, ", \"device\": ");
    json_write_string(b, r->info->device, strlen(r->info->device));
    buf_printf(b, ", \"dtype\": \"%s\", \"max_num_seqs\": %d", r->info->dtype,
               r->info->max_num_seqs);
    write_member(b, "output_throughput", r->output_tokens_per_s);
    if (!isnan(r->floor_s)) {
        write_member(b, "read_bytes_per_s", r->limits.read_bytes_per_s);
        write_member(b, "flops_per_s", r->limits.flops_per_s);
        write_member(b, "floor_s", r->floor_s);
        write_member(b, "floor_output_throughput", floor_tokens_per_s(r, work));
        write_member(b, "reached_percent", 100 * r->floor_s / work->elapsed_s);
    }
    buf_puts(b, ", \"resources\": ");
    if (r->resources != NULL)
        resources_write_json(r->resources, true, b);
    else
        buf_puts(b, "null");
    buf_putc(b, '}');
}

int
report_save(const struct bench_config *c, const struct buf *json, struct error *err)
{
    if (c->output_json == NULL)
        return 0;
    FILE *f = fopen(c->output_json, "we");
    bool failed = f == NULL || fwrite(buf_bytes(json), 1, buf_len(json), f) != buf_len(json);
    int why = errno;
    if (f != NULL && fclose(f) != 0 && !failed) {
        failed = true;
        why = errno;
    }
    return failed ? error_set(err, ERR_IO, "option '--output-json': cannot write '%s': %s",
                              c->output_json, strerror(why))
                  : 0;
}
