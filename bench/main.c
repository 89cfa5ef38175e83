/* SPDX-License-Identifier: Apache-2.0 */
/* llmd-bench: the engine in this process, without a server. */
#include "bench/commands.h"

#include <stdio.h>

enum {
    EXIT_NOT_GOOD = 1,
    EXIT_WRONG_OPTION = 2,
};

/* --help and its like: prints and returns true. */
static bool
answer_about_self(const struct bench_config *c)
{
    struct buf text = {0};
    if (c->help)
        option_help(&bench_config_table, &text);
    else if (c->man)
        option_man_page(&bench_config_table, 1, &text);
    else if (c->version)
        buf_puts(&text, "llmd-bench " PACKAGE_VERSION "\n");
    else
        return false;
    fwrite(buf_bytes(&text), 1, buf_len(&text), stdout);
    buf_release(&text);
    return true;
}

static int
run(const struct bench_config *c, struct error *err)
{
    struct offline *o = NULL;
    int e = offline_open(c, &o, err);
    if (e == 0) {
        fprintf(stderr, "%s\n", offline_info(o)->memory_plan);
        e = c->command == BENCH_LATENCY ? command_latency(c, o, err)
                                        : command_throughput(c, o, err);
    }
    offline_close(o);
    return e;
}

int
main(int argc, char **argv)
{
    const struct cache_environment cache = {getenv("CACHE_DIRECTORY"), getenv("XDG_CACHE_HOME"),
                                            getenv("HOME")};
    struct bench_config config;
    struct error err = {0};
    int status = EXIT_SUCCESS;
    if (bench_config_read(&config, argc, argv, &err) < 0)
        status = EXIT_WRONG_OPTION;
    else if (!answer_about_self(&config)
             && (engine_options_find_cache(&config.engine, &cache, &err) < 0
                 || run(&config, &err) < 0))
        status = EXIT_NOT_GOOD;
    if (status != EXIT_SUCCESS)
        fprintf(stderr, "llmd-bench: %s\n", err.text);
    bench_config_release(&config);
    return status;
}
