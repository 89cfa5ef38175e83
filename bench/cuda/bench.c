/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/cuda/bench.h"

#include "util/samples.h"

#include <math.h>
#include <string.h>

/* Several times the L2 cache of an H200, 60 MB. */
#define ROTATED_BYTES 256e6
#define MAX_LAUNCHES 64
/* So that the start of a graph does not count, and is not all when one takes long. */
#define LEAST_LAUNCHES 8
#define LEAST_LARGE_LAUNCHES 3
#define LARGE_BYTES 1e9

void
bench_check(cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess)
        return;
    fprintf(stderr, "bench_kernels: %s: %s\n", what, cudaGetErrorString(rc));
    exit(EXIT_FAILURE);
}

void *
bench_upload(const void *data, size_t bytes)
{
    void *p;
    bench_check(cudaMalloc(&p, MAX(bytes, 16)), "cudaMalloc");
    bench_check(data != NULL ? cudaMemcpy(p, data, bytes, cudaMemcpyHostToDevice)
                             : cudaMemset(p, 0, bytes),
                "cudaMemcpy");
    bench_check(cudaDeviceSynchronize(), "cudaMemset"); /* the stream does not wait for it */
    return p;
}

int
bench_launches(const struct bench *b, double bytes_each)
{
    if (b->tiny)
        return 1;
    double n = ROTATED_BYTES / bytes_each;
    int least = bytes_each > LARGE_BYTES ? LEAST_LARGE_LAUNCHES : LEAST_LAUNCHES;
    return (int)MAX(MIN(n, MAX_LAUNCHES), least);
}

const void *
bench_data(const struct bench *b, double bytes_each, int i)
{
    size_t each = ROUND_UP((size_t)bytes_each, 256);
    if (each > b->data_bytes) {
        fprintf(stderr, "bench_kernels: a kernel reads %zu bytes at once, %zu are there\n", each,
                b->data_bytes);
        exit(EXIT_FAILURE);
    }
    return b->data + (size_t)i % (b->data_bytes / each) * each;
}

/* The launches as a graph; false: they cannot be done. */
static bool
record(const struct bench *b, const struct job *job, cudaGraphExec_t *ret)
{
    cudaGraph_t graph = NULL;
    cudaError_t rc = cudaSuccess;
    bench_check(cudaStreamBeginCapture(b->ctx.stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < job->num_launches && rc == cudaSuccess; i++)
        rc = job->enqueue(b, job->arg, i);
    cudaError_t end = cudaStreamEndCapture(b->ctx.stream, &graph);
    if (rc == cudaSuccess)
        bench_check(end, "capture");
    if (rc == cudaSuccess)
        bench_check(cudaGraphInstantiate(ret, graph, 0), "a graph");
    if (graph != NULL)
        cudaGraphDestroy(graph);
    cudaGetLastError();
    return rc == cudaSuccess;
}

static double
replay(const struct bench *b, const struct job *job, cudaGraphExec_t graph)
{
    float ms = 0;
    if (job->prepare != NULL)
        job->prepare(b, job->arg);
    bench_check(cudaEventRecord(b->start, b->ctx.stream), "an event");
    bench_check(cudaGraphLaunch(graph, b->ctx.stream), "a graph");
    bench_check(cudaEventRecord(b->stop, b->ctx.stream), "an event");
    bench_check(cudaEventSynchronize(b->stop), "a kernel");
    bench_check(cudaEventElapsedTime(&ms, b->start, b->stop), "an event");
    return ms * 1e-3 / job->num_launches;
}

struct times
bench_time(const struct bench *b, const struct job *job)
{
    cudaGraphExec_t graph;
    struct samples s = {0};
    if (!record(b, job, &graph))
        return (struct times){NAN, NAN};
    replay(b, job, graph);
    for (int i = 0; i < b->repeats; i++)
        samples_record(&s, replay(b, job, graph));
    cudaGraphExecDestroy(graph);
    struct times t = {samples_percentile(&s, 0), samples_percentile(&s, 50)};
    samples_release(&s);
    return t;
}

/* ---- what tools/kernel-table predicted ---- */

/* The text of a cell of a Markdown row, blanks and quotes left out. */
static void
cell(const char *line, int number, char *ret, size_t size)
{
    size_t n = 0;
    for (const char *c = line; *c != '\0' && *c != '\n' && number >= 0; c++) {
        if (*c == '|')
            number--;
        else if (number == 0 && *c != ' ' && *c != '`' && n + 1 < size)
            ret[n++] = *c;
    }
    ret[n] = '\0';
}

/* The number of the column with this title in a header line; -1: not there. */
static int
column(const char *header, const char *title)
{
    char text[64];
    for (int i = 1; i < 32; i++) {
        cell(header, i, text, sizeof text);
        if (strcmp(text, title) == 0)
            return i;
    }
    return -1;
}

struct prediction {
    double us, share; /* on an H200; share: of its datasheet's bandwidth. NaN: none */
};

/* What a case's main kernel, its first row, is predicted. */
static struct prediction
predicted(const struct bench *b, const struct bench_case *c)
{
    int at_case = -1, at_model = -1, at_rows = -1, at_us = -1, at_share = -1;
    struct prediction p = {NAN, NAN};
    char text[64], rows[16];
    snprintf(rows, sizeof rows, "%d", c->rows);
    for (const char *line = b->predictions; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line != '|')
            continue;
        if (column(line, "predictedus") > 0) {
            at_case = column(line, "case");
            at_model = column(line, "model");
            at_rows = column(line, "rows");
            at_us = column(line, "predictedus");
            at_share = column(line, "ofbandwidth");
        }
        if (at_case < 0 || at_model < 0 || at_rows < 0)
            continue;
        cell(line, at_case, text, sizeof text);
        bool same = strcmp(text, c->kernel) == 0;
        cell(line, at_model, text, sizeof text);
        same = same && strcmp(text, c->model) == 0;
        cell(line, at_rows, text, sizeof text);
        if (!same || strcmp(text, rows) != 0)
            continue;
        char *end;
        cell(line, at_us, text, sizeof text);
        double us = strtod(text, &end);
        p.us = end != text && *end == '\0' ? us : NAN;
        cell(line, at_share, text, sizeof text);
        double percent = strtod(text, &end);
        p.share = end != text && *end == '%' ? percent / 100 : NAN;
        return p;
    }
    return p;
}

/* ---- the table ---- */

/* Predictions are of decode at the offline test's mean context. */
#define PREDICTED_CONTEXT 400

void
bench_report(struct bench *b, const struct bench_case *c, struct times t)
{
    double floor_s = MAX(c->bytes / b->bytes_per_s, c->flops / b->flops_per_s);
    bool has_prediction = strcmp(c->how, "kernel") == 0 &&
                          (c->context == 0 || c->context == PREDICTED_CONTEXT ||
                           strcmp(c->kernel, "attention_prefill") == 0);
    struct prediction p = has_prediction ? predicted(b, c) : (struct prediction){NAN, NAN};
    printf("%-18s %-10s %-12s %5d x %-5d %9.2f %9.2f us  floor %9.2f us %4.0f %%", c->kernel,
           c->how, c->model, c->rows, c->context, t.min_s * 1e6, t.median_s * 1e6, floor_s * 1e6,
           100 * floor_s / t.median_s);
    if (!isnan(p.us))
        printf("  (predicted %.2f us)", p.us);
    putchar('\n');
    fflush(stdout);
    rows_begin(&b->rows, "kernel");
    rows_text(&b->rows, "kernel", c->kernel);
    rows_text(&b->rows, "how", c->how);
    rows_text(&b->rows, "model", c->model);
    rows_int(&b->rows, "rows", c->rows);
    rows_int(&b->rows, "context", c->context);
    rows_number(&b->rows, "bytes", c->bytes);
    rows_number(&b->rows, "flops", c->flops);
    rows_number(&b->rows, "min_us", t.min_s * 1e6);
    rows_number(&b->rows, "median_us", t.median_s * 1e6);
    rows_number(&b->rows, "floor_us", floor_s * 1e6);
    rows_number(&b->rows, "fraction", floor_s / t.median_s);
    rows_number(&b->rows, "bandwidth_fraction", c->bytes / b->bytes_per_s / t.median_s);
    rows_number(&b->rows, "predicted_us", p.us);
    rows_number(&b->rows, "predicted_bandwidth_fraction", p.share);
    rows_end(&b->rows);
}

bool
bench_wants(struct bench *b, const char *kernel, const char *model)
{
    if (b->only != NULL && strstr(kernel, b->only) == NULL)
        return false;
    if (b->deadline_ns == 0 || mono_ns() < b->deadline_ns)
        return true;
    printf("%-18s %-10s %-12s left out: the time was up\n", kernel, "", model);
    rows_begin(&b->rows, "left_out");
    rows_text(&b->rows, "kernel", kernel);
    rows_text(&b->rows, "model", model);
    rows_text(&b->rows, "why", "the time was up");
    rows_end(&b->rows);
    return false;
}
