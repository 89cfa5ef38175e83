/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/main.h"
#include "util/hashmap.h"

#include <check.h>

START_TEST(test_get_empty_map_is_null)
{
    struct hashmap h = {0};
    ck_assert_ptr_null(hashmap_get(&h, 0));
    hashmap_release(&h);
    ck_assert_int_eq(hashmap_reserve(&h, 0), 0);
    ck_assert_ptr_null(hashmap_get(&h, 1));
    hashmap_release(&h);
}
END_TEST

START_TEST(test_put_many_all_come_back)
{
    struct hashmap h = {0};
    int rc = 0;
    for (uint64_t i = 0; i < 100000; i++)
        rc |= hashmap_put(&h, i << 32 | (i * 7 & 0xffff), i);
    ck_assert_int_eq(rc, 0);
    ck_assert_uint_eq(h.len, 100000);
    for (uint64_t i = 0; i < 100000; i++) {
        const uint64_t *value = hashmap_get(&h, i << 32 | (i * 7 & 0xffff));
        if (value == NULL || *value != i || hashmap_get(&h, i << 32 | 0x10000) != NULL)
            ck_abort_msg("key number %d is wrong", (int)i);
    }
    hashmap_release(&h);
}
END_TEST

START_TEST(test_put_same_key_replaces)
{
    struct hashmap h = {0};
    ck_assert_int_eq(hashmap_put(&h, 5, 1), 0);
    ck_assert_int_eq(hashmap_put(&h, 5, 2), 0);
    ck_assert_uint_eq(h.len, 1);
    ck_assert_uint_eq(*hashmap_get(&h, 5), 2);
    hashmap_release(&h);
}
END_TEST

START_TEST(test_reserve_then_put_does_not_grow)
{
    struct hashmap h = {0};
    ck_assert_int_eq(hashmap_reserve(&h, 1000), 0);
    struct hashmap_slot *slots = h.slots;
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert_int_eq(hashmap_put(&h, i, i), 0);
    ck_assert_ptr_eq(h.slots, slots);
    hashmap_release(&h);
}
END_TEST

START_TEST(test_reserve_absurd_size_is_nomem)
{
    struct hashmap h = {0};
    ck_assert_int_lt(hashmap_reserve(&h, SIZE_MAX), 0);
    ck_assert_ptr_null(h.slots);
}
END_TEST

START_TEST(test_hash_bytes_length_and_content_matter)
{
    ck_assert(hash_bytes("abc", 3) == hash_bytes("abc", 3));
    ck_assert(hash_bytes("abc", 3) != hash_bytes("abd", 3));
    ck_assert(hash_bytes("abc\0", 4) != hash_bytes("abc", 3));
    ck_assert(hash_bytes("12345678a", 9) != hash_bytes("12345678b", 9));
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("hashmap");
    TCase *tc = tcase_create("hashmap");
    tcase_add_test(tc, test_get_empty_map_is_null);
    tcase_add_test(tc, test_put_many_all_come_back);
    tcase_add_test(tc, test_put_same_key_replaces);
    tcase_add_test(tc, test_reserve_then_put_does_not_grow);
    tcase_add_test(tc, test_reserve_absurd_size_is_nomem);
    tcase_add_test(tc, test_hash_bytes_length_and_content_matter);
    suite_add_tcase(suite, tc);
    return suite;
}

TEST_MAIN(make_suite)
