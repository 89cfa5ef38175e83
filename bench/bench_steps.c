/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a decode step takes at several batch sizes, and a long prefill before
 * them, through the code that serves: model, op table, recorded steps, drawn
 * tokens that go from step to step on the device, as many steps in flight as it
 * takes. Weights are random (config.json is enough), prompts too, and their keys
 * and values are computed, not made up.
 *
 * The sequences of all batches are the same ones; a step's contexts lie within a
 * quarter around --context. Prints a line for each batch, with the least time that
 * the memory bandwidth and the arithmetic leave for it (engine/roofline.h): those of
 * the GPU's datasheet, and those given by --bandwidth and --flops.
 */
#include "bench/steps.h"

#include "util/option.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct steps_config, field)

static const struct option option_rows[] = {
    {.name = "model", .type = OPT_STRING, .offset = AT(model), .metavar = "DIR",
     .text = "A folder with config.json."},
    {.name = "name", .type = OPT_STRING, .offset = AT(name), .text = "What rows call the model."},
    {.name = "batches", .type = OPT_STRING, .offset = AT(batches), .metavar = "N,N,...",
     .fallback = "1,8,32,64,128,256,300", .text = "Sequences in a step."},
    {.name = "context", .type = OPT_INT, .offset = AT(context), .min = 8, .max = 1048576,
     .fallback = "400", .unit = "tokens", .text = "Mean context of the measured steps."},
    {.name = "steps", .type = OPT_INT, .offset = AT(num_steps), .min = 1, .max = 10000,
     .fallback = "32", .text = "Steps measured of each batch."},
    {.name = "max-tokens", .type = OPT_INT, .offset = AT(max_tokens), .min = 8, .max = 1048576,
     .fallback = "8192", .unit = "tokens", .text = "Most tokens of a prefill step."},
    {.name = "seconds", .type = OPT_INT, .offset = AT(seconds), .min = 0, .max = 86400,
     .fallback = "0", .text = "After so many no further batch is begun. 0: no limit."},
    {.name = "bandwidth", .type = OPT_FLOAT, .offset = AT(bandwidth), .min = 0, .max = 1e16,
     .fallback = "0", .text = "Measured bytes/s, for the floor. 0: not known."},
    {.name = "flops", .type = OPT_FLOAT, .offset = AT(flops), .min = 0, .max = 1e18,
     .fallback = "0", .text = "Measured FLOP/s, for the floor. 0: not known."},
    {.name = "device", .type = OPT_CHOICE, .offset = AT(device), .choices = steps_devices,
     .fallback = "auto", .text = "Where to compute."},
    {.name = "autotune", .type = OPT_BOOL, .offset = AT(autotune), .fallback = "true",
     .text = "Time the ways to multiply first, as at the start of a server."},
    {.name = "enforce-eager", .type = OPT_BOOL, .offset = AT(enforce_eager),
     .text = "Record no steps."},
    {.name = "no-pdl", .type = OPT_BOOL, .offset = AT(no_pdl),
     .text = "No programmatic dependent launch."},
    {.name = "cache-dir", .type = OPT_STRING, .offset = AT(cache_dir), .metavar = "DIR",
     .text = "Where the timings of products are kept."},
    {.name = "output", .type = OPT_STRING, .offset = AT(output), .metavar = "FILE",
     .text = "A file that gets a JSON object for each line."},
    {.name = "help", .letter = 'h', .type = OPT_BOOL, .offset = AT(help), .text = "Shows this."},
};

static const struct option_table steps_table = {
    .options = option_rows,
    .num_options = ARRAY_SIZE(option_rows),
    .program = "bench_steps",
    .synopsis = "bench_steps --model DIR [options]",
};

int
main(int argc, char **argv)
{
    struct steps_config config;
    struct error err = {0};
    size_t num_words;
    int rc = option_defaults(&steps_table, &config, &err);
    if (rc == 0)
        rc = option_read_argv(&steps_table, &config, argc, argv, NULL, 0, &num_words, &err);
    if (rc == 0 && config.help) {
        struct buf text = {0};
        option_help(&steps_table, &text);
        fputs(buf_bytes(&text), stdout);
        buf_release(&text);
    } else if (rc == 0 && config.model == NULL) {
        rc = error_set(&err, ERR_INVALID, "no model given: use option '--model DIR'");
    } else if (rc == 0) {
        rc = steps_run(&config, &err);
    }
    if (rc < 0)
        fprintf(stderr, "bench_steps: %s\n", err.text);
    option_release(&steps_table, &config);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
