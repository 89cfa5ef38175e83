/* SPDX-License-Identifier: Apache-2.0 */
/* error, buf, ring and rng. */
#include "tests/unit/main.h"
#include "util/buf.h"
#include "util/error.h"
#include "util/ring.h"
#include "util/rng.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

START_TEST(test_error_set_formats_and_returns_code)
{
    struct error err;
    ck_assert_int_eq(error_set(&err, ERR_RANGE, "value %d", 7), ERR_RANGE);
    ck_assert_int_eq(err.code, ERR_RANGE);
    ck_assert_str_eq(err.text, "value 7");
    ck_assert_int_eq(error_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
    error_prefix(&err, "file '%s'", "a");
    ck_assert_str_eq(err.text, "file 'a': value 7");
}
END_TEST

START_TEST(test_error_set_long_text_is_cut)
{
    struct error err;
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    error_set(&err, ERR_IO, "%s", big);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    error_prefix(&err, "%s", big);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
}
END_TEST

START_TEST(test_buf_append_consume_take)
{
    struct buf b = {0};
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "%d,", i % 10);
    ck_assert_uint_eq(buf_len(&b), 20000);
    buf_consume(&b, 19998);
    ck_assert_str_eq(buf_bytes(&b), "9,");
    buf_puts(&b, "end");
    size_t len;
    char *text = buf_take(&b, &len);
    ck_assert_str_eq(text, "9,end");
    ck_assert_uint_eq(len, 5);
    ck_assert_uint_eq(buf_len(&b), 0);
    free(text);
    buf_release(&b);
}
END_TEST

START_TEST(test_buf_reserve_overflow_fails_for_good)
{
    struct buf b = {0};
    buf_puts(&b, "kept");
    ck_assert(!buf_reserve(&b, SIZE_MAX - 2));
    buf_puts(&b, "lost");
    ck_assert(b.failed);
    ck_assert_str_eq(buf_bytes(&b), "kept");
    ck_assert_ptr_null(buf_take(&b, NULL));
    buf_release(&b);
}
END_TEST

START_TEST(test_ring_push_full_is_refused)
{
    struct ring r;
    ck_assert_int_eq(ring_init(&r, 3, sizeof(int)), 0);
    ck_assert_uint_eq(r.capacity, 4);
    for (int i = 0; i < 4; i++)
        ck_assert(ring_push(&r, &i));
    int extra = 99;
    ck_assert(!ring_push(&r, &extra));
    int got[8];
    ck_assert_uint_eq(ring_pop(&r, got, 3), 3);
    ck_assert_int_eq(got[2], 2);
    ck_assert(ring_push(&r, &extra));
    ck_assert_uint_eq(ring_room(&r), 2);
    ck_assert_uint_eq(ring_pop(&r, got, 8), 2);
    ck_assert_int_eq(got[0], 3);
    ck_assert_int_eq(got[1], 99);
    ck_assert_uint_eq(ring_pop(&r, got, 8), 0);
    ring_release(&r);
}
END_TEST

static bool
never(void *arg)
{
    (void)arg;
    return false;
}

static void *
wake_soon(void *arg)
{
    usleep(20000);
    waiter_wake(arg);
    return NULL;
}

START_TEST(test_waiter_sleep_is_ended_by_wake)
{
    struct waiter w;
    ck_assert_int_eq(waiter_init(&w), 0);
    pthread_t t;
    uint64_t start = mono_ns();
    ck_assert_int_eq(pthread_create(&t, NULL, wake_soon, &w), 0);
    waiter_sleep(&w, never, NULL, 20000);
    ck_assert_uint_lt(mono_ns() - start, 10000000000u);
    pthread_join(t, NULL);
    waiter_release(&w);
}
END_TEST

/* Random123 1.14, examples/kat_vectors: philox4x32 10. */
START_TEST(test_philox_matches_published_vectors)
{
    uint32_t w[4];
    philox4x32(0, 0, 0, w);
    ck_assert_uint_eq(w[0], 0x6627e8d5);
    ck_assert_uint_eq(w[1], 0xe169c58d);
    ck_assert_uint_eq(w[2], 0xbc57ac4c);
    ck_assert_uint_eq(w[3], 0x9b00dbd8);
    philox4x32(~0ull, ~0ull, ~0ull, w);
    ck_assert_uint_eq(w[0], 0x408f276d);
    ck_assert_uint_eq(w[1], 0x41c83b0e);
    ck_assert_uint_eq(w[2], 0xa20bc7c6);
    ck_assert_uint_eq(w[3], 0x6d5451fd);
    /* ctr 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 */
    philox4x32(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, w);
    ck_assert_uint_eq(w[0], 0xd16cfe09);
    ck_assert_uint_eq(w[1], 0x94fdcceb);
    ck_assert_uint_eq(w[2], 0x5001e420);
    ck_assert_uint_eq(w[3], 0x24126ea1);
}
END_TEST

START_TEST(test_rng_uniform_open_never_touches_the_ends)
{
    ck_assert(rng_uniform_open(0) > 0.0f);
    ck_assert(rng_uniform_open(UINT32_MAX) < 1.0f);
}
END_TEST

static Suite *
util_suite(void)
{
    Suite *s = suite_create("util");
    TCase *tc = tcase_create("util");
    tcase_add_test(tc, test_error_set_formats_and_returns_code);
    tcase_add_test(tc, test_error_set_long_text_is_cut);
    tcase_add_test(tc, test_buf_append_consume_take);
    tcase_add_test(tc, test_buf_reserve_overflow_fails_for_good);
    tcase_add_test(tc, test_ring_push_full_is_refused);
    tcase_add_test(tc, test_waiter_sleep_is_ended_by_wake);
    tcase_add_test(tc, test_philox_matches_published_vectors);
    tcase_add_test(tc, test_rng_uniform_open_never_touches_the_ends);
    suite_add_tcase(s, tc);
    return s;
}

TEST_MAIN(util_suite)
