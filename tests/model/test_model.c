/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward pass against what transformers computed: the tiny checkpoints of
 * every architecture (tests/data/tiny), the bundled demo model (share/demo) and,
 * where it has been downloaded, SmolLM2. A sequence is run through the op table
 * by a driver of its own, without scheduler and cache manager.
 *
 *   LLMD_SMOLLM2_DIR  where SmolLM2 lies (~/.cache/llmd/SmolLM2-135M-Instruct)
 *   LLMD_FULL=1       all steps that are recorded for it, not the first 16
 *
 * Built with TEST_CUDA it runs on the CUDA module, which computes in bfloat16:
 * tokens are then compared with the tolerance of that type, and the chunks on a
 * device that is deterministic.
 *
 * Near ties: where the two best logits lay closer than NEAR_TIE in the recording,
 * another token may win; it is printed, and the run goes on with the recorded
 * token. Any other difference fails.
 */
#include "engine/model.h"
#include "kernels/backend.h"
#include "util/json.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define F32_TOLERANCE 1e-4f   /* |logit - recorded|, f32 against f32 */
#define F32_TOLERANCE_30 3e-4f /* the same through 30 layers */
#define NEAR_TIE 1e-3f
#define BF16_NEAR_TIE 0.1      /* where the noise of bf16 was not recorded */
#define BF16_TOKENS_PER_NEAR_TIE 16
#define MAX_TOKENS 512
#ifdef TEST_CUDA /* a virtual device takes its time */
#define TINY_STEPS 16
#define DEMO_STEPS 8
#define SMOLLM2_STEPS 1
#else
#define TINY_STEPS INT32_MAX
#define DEMO_STEPS INT32_MAX
#define SMOLLM2_STEPS 16
#endif

static const struct ops *
test_ops(void)
{
#ifdef TEST_CUDA
    const struct ops *ops = NULL;
    struct error err = {0};
    if (backend_find("cuda", &ops, &err) != 0)
        ck_abort_msg("%s", err.text);
    return ops;
#else
    return &cpu_ops;
#endif
}

/* One sequence on one device. */
struct runner {
    const struct ops *ops;
    struct device *dev;
    struct model *model;
    struct model_config config;
    int num_blocks;
    int32_t *block_table;   /* owned; a permutation of all blocks */
    float *logits;          /* owned [V]: of the last row run */
};

static const char *
source_path(const char *name)
{
    static char path[4][512];
    static int next;
    const char *dir = getenv("srcdir");
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir == NULL ? "." : dir, name);
    return p;
}

static void
check_code(int code, const struct error *err)
{
    if (code != 0)
        ck_abort_msg("%s: %s", error_name(code), err->text);
}

static void
runner_open(struct runner *r, const char *dir, bool f32, bool deterministic, int max_len)
{
    struct error err = {0};
    memset(r, 0, sizeof *r);
    r->ops = test_ops();
    check_code(model_config_read(dir, &r->config, &err), &err);
    const struct device_options options = {.threads = 2, .max_tokens = MAX_TOKENS, .max_seqs = 1,
                                           .vocab_size = (int)r->config.vocab_size,
                                           .deterministic = deterministic};
    check_code(r->ops->device_open(&options, &r->dev, &err), &err);
    struct device_info info;
    r->ops->device_info(r->dev, &info);
    const struct model_load_args args = {.dir = dir, .config = &r->config, .f32 = f32,
                                         .dtype = info.is_gpu ? DTYPE_BF16 : DTYPE_F32, .ops = r->ops, .dev = r->dev, .max_tokens = MAX_TOKENS,
                                         .max_logit_rows = 1};
    check_code(model_load(&args, &r->model, &err), &err);
    r->num_blocks = CEIL_DIV(max_len, KV_BLOCK_SIZE);
    const struct kv_config kv = {.num_layers = r->config.num_layers,
                                 .num_kv_heads = r->config.num_kv_heads,
                                 .head_dim = r->config.head_dim, .num_blocks = r->num_blocks,
                                 .dtype = f32 ? DTYPE_F32 : DTYPE_BF16,
                                 .num_heads = r->config.num_heads,
                                 .window = r->config.sliding_window};
    check_code(r->ops->kv_init(r->dev, &kv, &err), &err);
    r->block_table = malloc((size_t)r->num_blocks * sizeof *r->block_table);
    r->logits = malloc((size_t)r->config.vocab_size * sizeof *r->logits);
    ck_assert(r->block_table != NULL && r->logits != NULL);
    /* Anything but the identity: odd blocks upwards, then even ones downwards. */
    int n = 0;
    for (int b = 1; b < r->num_blocks; b += 2)
        r->block_table[n++] = b;
    for (int b = (r->num_blocks - 1) / 2 * 2; b >= 0; b -= 2)
        r->block_table[n++] = b;
    ck_assert_int_eq(n, r->num_blocks);
}

static void
runner_close(struct runner *r)
{
    model_free(r->model);
    r->ops->device_close(r->dev);
    free(r->block_table);
    free(r->logits);
}

/* Runs ids[0..n) as positions start.. of the sequence: one step. */
static void
runner_step(struct runner *r, const int32_t *ids, int n, int start)
{
    static int32_t positions[MAX_TOKENS], slots[MAX_TOKENS];
    ck_assert_int_le(n, MAX_TOKENS);
    ck_assert_int_le(start + n, r->num_blocks * KV_BLOCK_SIZE);
    for (int i = 0; i < n; i++) {
        int p = start + i;
        positions[i] = p;
        slots[i] = r->block_table[p / KV_BLOCK_SIZE] * KV_BLOCK_SIZE + p % KV_BLOCK_SIZE;
    }
    const int32_t cu_seqlens[2] = {0, n}, seq_len = start + n, last_row = n - 1;
    const struct batch batch = {.num_tokens = n, .num_seqs = 1,
                                .max_blocks_per_seq = r->num_blocks, .token_ids = ids,
                                .positions = positions, .slot_mapping = slots,
                                .cu_seqlens_q = cu_seqlens, .seq_lens = &seq_len,
                                .block_tables = r->block_table};
    struct step_shape step;
    ck_assert_int_eq(r->ops->step_begin(r->dev, &batch, &step), 0);
    if (!step.recorded)
        model_forward(r->model, step.num_rows);
    ck_assert_int_eq(r->ops->forward_end(r->dev), 0);
    const struct buffer *logits = model_logits(r->model, &last_row, 1);
    ck_assert_int_eq(r->ops->step_end(r->dev), 0);
    ck_assert_int_eq(r->ops->step_wait(r->dev), 0);
    ck_assert_int_eq(r->ops->download(r->dev, r->logits, logits, 0,
                                      (size_t)r->config.vocab_size * sizeof *r->logits),
                     0);
}

static void
runner_prefill(struct runner *r, const int32_t *ids, int n, int chunk)
{
    for (int at = 0; at < n; at += chunk)
        runner_step(r, ids + at, MIN(chunk, n - at), at);
}

static int32_t
runner_argmax(const struct runner *r)
{
    int32_t best = 0;
    for (int32_t i = 1; i < r->config.vocab_size; i++)
        if (r->logits[i] > r->logits[best])
            best = i;
    return best;
}

/* The recording */

static json_t *
truth_load(const char *path)
{
    json_error_t error;
    json_t *top = json_load_file(path, 0, &error);
    ck_assert_msg(top != NULL, "%s: %s", path, error.text);
    return top;
}

static int32_t *
int_array(const json_t *list, int *ret_n)
{
    int n = (int)json_array_size(list);
    int32_t *a = malloc((size_t)(n + 1) * sizeof *a);
    ck_assert(a != NULL);
    for (int i = 0; i < n; i++)
        a[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    *ret_n = n;
    return a;
}

/* max |logits - recorded|; 0 when nothing is recorded. */
static float
max_difference(const struct runner *r, const json_t *recorded)
{
    float max = 0;
    if (recorded == NULL)
        return 0;
    ck_assert_int_eq((int)json_array_size(recorded), (int)r->config.vocab_size);
    for (size_t i = 0; i < json_array_size(recorded); i++) {
        float d = fabsf(r->logits[i] - (float)json_number_value(json_array_get(recorded, i)));
        if (!(d <= max)) /* NaN is the largest difference */
            max = d;
    }
    return max;
}

/* [[id, logprob], ...] of the first step. */
static float
max_logprob_difference(const struct runner *r, const json_t *top)
{
    double sum = 0, best = r->logits[runner_argmax(r)];
    float max = 0;
    for (int64_t i = 0; i < r->config.vocab_size; i++)
        sum += exp((double)r->logits[i] - best);
    for (size_t i = 0; i < json_array_size(top); i++) {
        const json_t *pair = json_array_get(top, i);
        int64_t id = json_integer_value(json_array_get(pair, 0));
        double logprob = (double)r->logits[id] - best - log(sum);
        float d = fabsf((float)(logprob - json_number_value(json_array_get(pair, 1))));
        if (!(d <= max))
            max = d;
    }
    return max;
}

struct summary {
    float first, last, top, bf16_to_f32, bf16_to_bf16;
    int prompts, tokens, near_ties;
};

/*
 * Prefill and greedy decoding of one recorded prompt; another token than the
 * recorded one is a near tie where the recording's margin is below near_tie. The logits that gave
 * tokens[0] are compared with logits_first, those of the last step with
 * logits_last.
 */
static void
run_prompt(struct runner *r, const char *model, const json_t *prompt, int max_steps,
           double near_tie, struct summary *sum)
{
    int num_ids, num_tokens, num_recorded;
    const char *name = json_string_value(json_object_get(prompt, "name"));
    int32_t *ids = int_array(json_object_get(prompt, "ids"), &num_ids);
    int32_t *tokens = int_array(json_object_get(prompt, "tokens"), &num_recorded);
    const json_t *margins = json_object_get(prompt, "margins");
    num_tokens = MIN(num_recorded, max_steps);
    ck_assert_int_gt(num_ids, 0);
    ck_assert_int_gt(num_tokens, 0);

    runner_prefill(r, ids, num_ids, MAX_TOKENS);
    sum->first = fmaxf(sum->first, max_difference(r, json_object_get(prompt, "logits_first")));
    sum->top = fmaxf(sum->top, max_logprob_difference(r, json_object_get(prompt, "top5")));
    for (int i = 0; i < num_tokens; i++) {
        if (i > 0)
            runner_step(r, &tokens[i - 1], 1, num_ids + i - 1);
        int32_t token = runner_argmax(r);
        double margin = json_number_value(json_array_get(margins, (size_t)i));
        if (token != tokens[i] && margin < near_tie) {
            printf("%s: near tie: prompt '%s' step %d: %d instead of %d, margin %g\n", model,
                   name, i, token, tokens[i], margin);
            sum->near_ties++;
        } else {
            ck_assert_msg(token == tokens[i],
                          "%s: prompt '%s' step %d: %d instead of %d, margin %g", model, name, i,
                          token, tokens[i], margin);
        }
    }
    if (num_tokens == num_recorded)
        sum->last = fmaxf(sum->last, max_difference(r, json_object_get(prompt, "logits_last")));
    sum->prompts++;
    sum->tokens += num_tokens;
    free(ids);
    free(tokens);
}

/* The logits after the prompt must not depend on how it was cut, to the bit. */
static void
check_chunks(struct runner *r, const char *model, const json_t *prompt)
{
    static const int chunks[] = {16, 7, 1};
    int n;
    int32_t *ids = int_array(json_object_get(prompt, "ids"), &n);
    size_t bytes = (size_t)r->config.vocab_size * sizeof *r->logits;
    float *whole = malloc(bytes);
    ck_assert(whole != NULL);
    runner_prefill(r, ids, n, MAX_TOKENS);
    memcpy(whole, r->logits, bytes);
    for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
        runner_prefill(r, ids, n, chunks[i]);
        ck_assert_msg(memcmp(whole, r->logits, bytes) == 0,
                      "%s: prompt '%s' in chunks of %d gives other logits than as a whole", model,
                      json_string_value(json_object_get(prompt, "name")), chunks[i]);
    }
    free(whole);
    free(ids);
}

static int
longest_prompt(const json_t *prompts)
{
    size_t longest = 0;
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *p = json_array_get(prompts, i);
        size_t n = json_array_size(json_object_get(p, "ids")) +
                   json_array_size(json_object_get(p, "tokens"));
        longest = MAX(longest, n);
    }
    return (int)longest;
}

static void
print_summary(const char *model, const struct summary *s)
{
    printf("%-14s %2d prompts %4d tokens, f32 max |diff|: first %.2g last %.2g top %.2g; "
           "16 bit: to f32 %.2g to bf16 %.2g; near ties %d\n",
           model, s->prompts, s->tokens, (double)s->first, (double)s->last, (double)s->top,
           (double)s->bf16_to_f32, (double)s->bf16_to_bf16, s->near_ties);
    fflush(stdout);
}

/* f32: tokens, logits and chunks. */
static void
check_f32(const char *dir, const char *model, const json_t *prompts, int max_steps,
          bool chunks, float tolerance, struct summary *sum)
{
    struct runner r;
    runner_open(&r, dir, true, false, longest_prompt(prompts));
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        run_prompt(&r, model, json_array_get(prompts, i), max_steps, (double)NEAR_TIE, sum);
        if (chunks)
            check_chunks(&r, model, json_array_get(prompts, i));
    }
    runner_close(&r);
    ck_assert_msg(sum->first <= tolerance && sum->last <= tolerance && sum->top <= tolerance,
                  "%s: max |diff| %g, %g, %g, the tolerance is %g", model, (double)sum->first,
                  (double)sum->last, (double)sum->top, (double)tolerance);
}

static bool
rounds_activations(const struct runner *r)
{
    struct device_info info;
    r->ops->device_info(r->dev, &info);
    return info.act_dtype != DTYPE_F32;
}

/*
 * 16 bit: weights as stored, cache in bf16. Against f32 the first logits may be
 * as far off as transformers' own bf16 run was (which also rounds every
 * activation), or twice as far on a device that rounds them too, at other
 * places; against that run twice as far again.
 */
static void
check_16_bit(const char *dir, const char *model, const json_t *prompts, struct summary *sum)
{
    struct runner r;
    runner_open(&r, dir, false, true, longest_prompt(prompts));
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *p = json_array_get(prompts, i);
        int n;
        int32_t *ids = int_array(json_object_get(p, "ids"), &n);
        runner_prefill(&r, ids, n, MAX_TOKENS);
        float bound = (float)json_number_value(json_object_get(p, "bf16_max_diff"));
        float to_f32 = max_difference(&r, json_object_get(p, "logits_first"));
        float to_bf16 = max_difference(&r, json_object_get(p, "logits_bf16"));
        bound *= rounds_activations(&r) ? 2 : 1;
        ck_assert_msg(to_f32 <= bound && to_bf16 <= 2 * bound,
                      "%s: prompt '%s' in 16 bit: max |diff| %g to f32, %g to bf16; transformers "
                      "has %g",
                      model, json_string_value(json_object_get(p, "name")), (double)to_f32,
                      (double)to_bf16, (double)bound);
        sum->bf16_to_f32 = fmaxf(sum->bf16_to_f32, to_f32);
        sum->bf16_to_bf16 = fmaxf(sum->bf16_to_bf16, to_bf16);
        free(ids);
        if (i == 0)
            check_chunks(&r, model, p);
    }
    runner_close(&r);
}

/*
 * Tokens on a device that rounds every activation to 16 bits: another one may
 * win where the margin is within the noise that transformers' bf16 run has on
 * each of the two logits; few of them.
 */
static void
check_tokens(const char *dir, const char *model, const json_t *prompts, int max_steps,
             struct summary *sum)
{
    struct runner r;
    runner_open(&r, dir, false, false, longest_prompt(prompts));
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const json_t *p = json_array_get(prompts, i);
        const json_t *noise = json_object_get(p, "bf16_max_diff");
        double near_tie = noise != NULL ? 2 * json_number_value(noise) : BF16_NEAR_TIE;
        run_prompt(&r, model, p, max_steps, near_tie, sum);
    }
    runner_close(&r);
    ck_assert_msg(sum->near_ties * BF16_TOKENS_PER_NEAR_TIE <= sum->tokens,
                  "%s: %d of %d tokens are near ties", model, sum->near_ties, sum->tokens);
}

/* What a checkpoint's recording is for on the device under test. */
static void
check_recording(const char *dir, const char *model, const json_t *prompts, int max_steps,
                bool chunks, float tolerance, struct summary *sum)
{
#ifdef TEST_CUDA
    (void)chunks, (void)tolerance, (void)check_f32;
    check_tokens(dir, model, prompts, max_steps, sum);
#else
    (void)check_tokens;
    check_f32(dir, model, prompts, max_steps, chunks, tolerance, sum);
#endif
}

static char **tiny_names;
static int num_tiny;

static int
is_checkpoint(const struct dirent *e)
{
    char path[512];
    struct stat sb;
    snprintf(path, sizeof path, "%s/%s/config.json", source_path("tests/data/tiny"), e->d_name);
    return e->d_name[0] != '.' && stat(path, &sb) == 0;
}

static void
list_tiny(void)
{
    struct dirent **entries;
    num_tiny = scandir(source_path("tests/data/tiny"), &entries, is_checkpoint, alphasort);
    if (num_tiny <= 0)
        return;
    tiny_names = calloc((size_t)num_tiny, sizeof *tiny_names);
    for (int i = 0; i < num_tiny; i++) {
        tiny_names[i] = strdup(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

START_TEST(test_forward_tiny_equals_transformers)
{
    char dir[512], truth[544];
    struct summary sum = {0};
    snprintf(dir, sizeof dir, "%s/%s", source_path("tests/data/tiny"), tiny_names[_i]);
    snprintf(truth, sizeof truth, "%s/truth.json", dir);
    json_t *top = truth_load(truth);
    const json_t *prompts = json_object_get(top, "prompts");
    check_recording(dir, tiny_names[_i], prompts, TINY_STEPS, true, F32_TOLERANCE, &sum);
    check_16_bit(dir, tiny_names[_i], prompts, &sum);
    print_summary(tiny_names[_i], &sum);
    json_decref(top);
}
END_TEST

START_TEST(test_forward_tiny_checkpoints_are_there)
{
    ck_assert_msg(num_tiny >= 6, "%d checkpoints in tests/data/tiny", num_tiny);
}
END_TEST

static bool
is_there(const char *dir)
{
    char path[544];
    struct stat sb;
    snprintf(path, sizeof path, "%s/config.json", dir);
    return stat(path, &sb) == 0;
}

START_TEST(test_forward_demo_equals_transformers)
{
    struct summary sum = {0};
    const char *dir = source_path("share/demo");
    json_t *top = truth_load(source_path("tests/data/demo/truth.json"));
    const json_t *prompts = json_object_get(top, "prompts");
    check_recording(dir, "demo", prompts, DEMO_STEPS, false, F32_TOLERANCE, &sum);
    print_summary("demo", &sum);
    json_decref(top);
}
END_TEST

START_TEST(test_forward_smollm2_equals_transformers)
{
    char dir[512];
    const char *given = getenv("LLMD_SMOLLM2_DIR"), *home = getenv("HOME");
    const char *full = getenv("LLMD_FULL");
    struct summary sum = {0};
    if (given != NULL)
        snprintf(dir, sizeof dir, "%s", given);
    else
        snprintf(dir, sizeof dir, "%s/.cache/llmd/SmolLM2-135M-Instruct",
                 home == NULL ? "" : home);
    if (!is_there(dir)) {
        printf("smollm2        skipped: not downloaded (tools/get-smollm2)\n");
        return;
    }
    json_t *top = truth_load(source_path("tests/data/smollm2/truth.json"));
    const json_t *prompts = json_object_get(top, "prompts");
    int steps = full != NULL && strcmp(full, "1") == 0 ? INT32_MAX : SMOLLM2_STEPS;
    check_recording(dir, "smollm2", prompts, steps, false, F32_TOLERANCE_30, &sum);
    print_summary("smollm2", &sum);
    json_decref(top);
}
END_TEST

/* Random weights at the real shapes, from config.json alone. */
START_TEST(test_load_dummy_runs_and_repeats)
{
    float first[2] = {0};
    for (int round = 0; round < 2; round++) {
        struct error err = {0};
        struct runner r = {.ops = test_ops()};
        const char *dir = source_path("tests/data/tiny/gemma-2-9b");
        struct engine_progress progress = {.phase = ""};
        check_code(model_config_read(dir, &r.config, &err), &err);
        const struct device_options options = {.threads = 2, .max_tokens = MAX_TOKENS,
                                               .max_seqs = 1,
                                               .vocab_size = (int)r.config.vocab_size};
        check_code(r.ops->device_open(&options, &r.dev, &err), &err);
        const struct model_load_args args = {.dir = "/nowhere", .config = &r.config,
                                             .load_format = LOAD_DUMMY, .seed = 7, .ops = r.ops,
                                             .dev = r.dev, .max_tokens = 16, .max_logit_rows = 1,
                                             .progress = &progress};
        check_code(model_load(&args, &r.model, &err), &err);
        const struct kv_config kv = {.num_layers = r.config.num_layers,
                                     .num_kv_heads = r.config.num_kv_heads,
                                     .head_dim = r.config.head_dim, .num_blocks = 1,
                                     .dtype = DTYPE_BF16, .num_heads = r.config.num_heads,
                                     .window = r.config.sliding_window};
        check_code(r.ops->kv_init(r.dev, &kv, &err), &err);
        int32_t block = 0, ids[3] = {1, 2, 3};
        r.block_table = &block;
        r.num_blocks = 1;
        r.logits = malloc((size_t)r.config.vocab_size * sizeof *r.logits);
        ck_assert(r.logits != NULL);
        runner_step(&r, ids, 3, 0);
        ck_assert(isfinite(r.logits[0]) && r.logits[0] != r.logits[1]);
        first[round] = r.logits[0];
        ck_assert_uint_eq(atomic_load(&progress.done_bytes), atomic_load(&progress.total_bytes));
        ck_assert_uint_eq(atomic_load(&progress.total_bytes),
                          model_config_weight_bytes(&r.config, DTYPE_BF16));
        free(r.logits);
        model_free(r.model);
        r.ops->device_close(r.dev);
    }
    ck_assert(first[0] == first[1]);
}
END_TEST

int
main(void)
{
    list_tiny();
    Suite *suite = suite_create("model");
    TCase *tiny = tcase_create("tiny"), *real = tcase_create("real");
    tcase_set_timeout(tiny, 120);
    tcase_set_timeout(real, 3600);
    tcase_add_test(tiny, test_forward_tiny_checkpoints_are_there);
    tcase_add_loop_test(tiny, test_forward_tiny_equals_transformers, 0, MAX(num_tiny, 0));
    tcase_add_test(tiny, test_load_dummy_runs_and_repeats);
    tcase_add_test(real, test_forward_demo_equals_transformers);
    tcase_add_test(real, test_forward_smollm2_equals_transformers);
    suite_add_tcase(suite, tiny);
    suite_add_tcase(suite, real);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    for (int i = 0; i < num_tiny; i++)
        free(tiny_names[i]);
    free(tiny_names);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
