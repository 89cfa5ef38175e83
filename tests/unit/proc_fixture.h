/* SPDX-License-Identifier: Apache-2.0 */
/* A folder that plays /proc, with files of given texts. */
#ifndef TESTS_UNIT_PROC_FIXTURE_H
#define TESTS_UNIT_PROC_FIXTURE_H

#include "util/base.h"

#include <check.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct proc_fixture {
    char root[64];
    char *paths[16]; /* owned: what was made, in order */
    size_t num_paths;
};

static inline void
proc_fixture_open(struct proc_fixture *f)
{
    *f = (struct proc_fixture){.root = "/tmp/llmd-proc-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(f->root));
}

static inline const char *
proc_fixture_keep(struct proc_fixture *f, const char *name)
{
    ck_assert_uint_lt(f->num_paths, ARRAY_SIZE(f->paths));
    ck_assert_int_gt(asprintf(&f->paths[f->num_paths], "%s/%s", f->root, name), 0);
    return f->paths[f->num_paths++];
}

static inline void
proc_fixture_mkdir(struct proc_fixture *f, const char *name)
{
    ck_assert_int_eq(mkdir(proc_fixture_keep(f, name), 0700), 0);
}

static inline void
proc_fixture_link(struct proc_fixture *f, const char *name, const char *target)
{
    ck_assert_int_eq(symlink(target, proc_fixture_keep(f, name)), 0);
}

/* In one piece, as a reader at work sees /proc change. */
static inline void
proc_fixture_write(struct proc_fixture *f, const char *name, const char *text)
{
    char temporary[96];
    snprintf(temporary, sizeof temporary, "%s/new", f->root);
    FILE *file = fopen(temporary, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(rename(temporary, proc_fixture_keep(f, name)), 0);
}

static inline void
proc_fixture_close(struct proc_fixture *f)
{
    while (f->num_paths > 0) {
        remove(f->paths[--f->num_paths]);
        free(f->paths[f->num_paths]);
    }
    ck_assert_int_eq(rmdir(f->root), 0);
}

#endif
