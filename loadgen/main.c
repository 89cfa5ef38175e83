/* SPDX-License-Identifier: Apache-2.0 */
/* loadgen: reads options, and does what they ask for. */
#include "loadgen/actions.h"
#include "loadgen/config.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

enum {
    EXIT_NOT_GOOD = 1, /* failures, or the server is not there */
    EXIT_WRONG_OPTION = 2,
};

static void
print(struct buf *text)
{
    fwrite(buf_bytes(text), 1, buf_len(text), stdout);
    fflush(stdout);
    buf_release(text);
}

/* ---- options ---- */

static int
take_api_key(struct config *c, struct error *err)
{
    const char *key = getenv("OPENAI_API_KEY");
    if (c->api_key != NULL || key == NULL)
        return 0;
    return option_set(&config_table, c, "api-key", key, err);
}

static int
read_options(struct config *c, int argc, char **argv, struct error *err)
{
    int e = option_defaults(&config_table, c, err);
    if (e == 0)
        e = option_read_argv(&config_table, c, argc, argv, c->files, CONFIG_FILES_MAX,
                             &c->num_files, err);
    if (e == 0)
        e = take_api_key(c, err);
    return e == 0 ? config_settle(c, err) : e;
}

/* --help and its like: prints and returns true. */
static bool
answer_about_self(const struct config *c)
{
    struct buf text = {0};
    if (c->help)
        option_help(&config_table, &text);
    else if (c->man)
        option_man_page(&config_table, 1, &text);
    else if (c->version)
        buf_puts(&text, "loadgen " PACKAGE_VERSION "\n");
    else
        return false;
    print(&text);
    return true;
}

/* Each connection is a descriptor; without a limit all prompts may be one. */
static void
raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static action_fn *
choose_action(const struct config *c)
{
    if (c->print_schedule)
        return action_print_schedule;
    if (c->self_test)
        return action_self_test;
    if (c->compare.len > 0)
        return action_compare;
    if (c->num_files > 0)
        return action_reference;
    if (c->sweep != NULL)
        return action_sweep;
    if (c->find_rate != NULL)
        return action_find_rate;
    return c->num_runs > 1 ? action_runs : action_run;
}

int
main(int argc, char **argv)
{
    struct config config = {0};
    struct error err = {0};
    int status = EXIT_SUCCESS;
    bool good = true;
    if (read_options(&config, argc, argv, &err) < 0) {
        fprintf(stderr, "loadgen: %s\n", err.text);
        status = EXIT_WRONG_OPTION;
    } else if (!answer_about_self(&config)) {
        signal(SIGPIPE, SIG_IGN);
        raise_descriptor_limit();
        int e = choose_action(&config)(&config, &good, &err);
        if (e < 0)
            fprintf(stderr, "loadgen: %s\n", err.text);
        /* Interrupted, what was measured still counts. */
        if ((e < 0 && e != ERR_CANCELLED) || !good)
            status = EXIT_NOT_GOOD;
    }
    option_release(&config_table, &config);
    return status;
}
