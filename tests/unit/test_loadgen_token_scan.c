/* SPDX-License-Identifier: Apache-2.0 */
/* Which messages the fast look takes, and which it leaves to the parser. */
#include "loadgen/token_scan.h"
#include "tests/unit/main.h"

#include <check.h>
#include <string.h>

static const struct {
    enum reply_api api;
    const char *message, *text; /* NULL: left to the parser */
} cases[] = {
    {REPLY_COMPLETION, "{\"id\": \"a\", \"choices\": [{\"index\": 0, \"text\": \" hi\", "
                       "\"logprobs\": null, \"finish_reason\": null}], \"usage\": null}",
     " hi"},
    {REPLY_COMPLETION, "{\"choices\":[{\"text\":\"\"}]}", ""},
    {REPLY_COMPLETION, " { \"choices\" :\t[ { \"text\" : \"a\\\"b\\\\\" } ] } \n", "a\\\"b\\\\"},
    {REPLY_COMPLETION, "{\"x\":{\"choices\":[1,-2.5e3,true,{}]},\"choices\":[{\"text\":\"a\"}]}",
     "a"},
    {REPLY_COMPLETION, "{\"choices\": []}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [], \"usage\": {\"completion_tokens\": 3}}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}], \"usage\": {}}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}], \"error\": \"x\"}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}], \"metrics\": {}}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}, {\"text\": \"b\"}]}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}], \"choices\": [{\"text\": \"b\"}]}",
     NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": null}]}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}]", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}]} x", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\\", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}], \"x\": nul}", NULL},
    {REPLY_COMPLETION, "{\"choices\": [{\"text\": \"a\"}], \"x\": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]"
                       "]]]]]]]]}", NULL},
    {REPLY_COMPLETION, "", NULL},
    {REPLY_COMPLETION, "[]", NULL},
    {REPLY_CHAT, "{\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"hi\"}}]}", "hi"},
    {REPLY_CHAT, "{\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": \"\"}}]}",
     NULL},
    {REPLY_CHAT, "{\"choices\": [{\"delta\": {}}]}", NULL},
    {REPLY_CHAT, "{\"choices\": [{\"text\": \"hi\"}]}", NULL},
};

START_TEST(test_token_scan_takes_plain_tokens_alone)
{
    const char *text;
    size_t len;
    bool taken = token_scan(cases[_i].message, strlen(cases[_i].message), cases[_i].api, &text,
                            &len);
    ck_assert_msg(taken == (cases[_i].text != NULL), "%s", cases[_i].message);
    if (taken) {
        ck_assert_uint_eq(len, strlen(cases[_i].text));
        ck_assert_mem_eq(text, cases[_i].text, len);
    }
}
END_TEST

/* Whatever a message is cut to, nothing beyond its end is read. */
START_TEST(test_token_scan_stays_within_the_message)
{
    const char *message = cases[0].message, *text;
    size_t len;
    for (size_t i = 0; i < strlen(message); i++) {
        char *copy = malloc(i + 1);
        memcpy(copy, message, i);
        ck_assert(!token_scan(copy, i, REPLY_COMPLETION, &text, &len));
        free(copy);
    }
}
END_TEST

/* With the fast look and with the parser a reply is the same. */
START_TEST(test_reply_is_the_same_on_both_ways)
{
    static const char *const ways[] = {
        "data: {\"choices\": [{\"text\": \"\\u00e9\\n\"}]}\n\n",
        "data: {\"choices\": [{\"text\": \"\\u00e9\\n\"}], \"metrics\": 1}\n\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct reply r;
        reply_init(&r, REPLY_COMPLETION, 1);
        reply_start(&r, 1000);
        reply_feed(&r, 200, ways[i], strlen(ways[i]), 3000);
        reply_feed(&r, 200, ways[i], strlen(ways[i]), 2000); /* never backwards */
        reply_finish(&r, 200, NULL, 5000);
        ck_assert_int_eq(r.status, REPLY_SUCCEEDED);
        ck_assert_uint_eq(r.num_events, 2);
        ck_assert_str_eq(buf_bytes(&r.text), "\xc3\xa9\n\xc3\xa9\n");
        ck_assert_double_eq(r.itls_s.values[0], 0);
        reply_release(&r);
    }
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_token_scan");
    TCase *tcase = tcase_create("loadgen_token_scan");
    tcase_add_loop_test(tcase, test_token_scan_takes_plain_tokens_alone, 0, ARRAY_SIZE(cases));
    tcase_add_test(tcase, test_token_scan_stays_within_the_message);
    tcase_add_test(tcase, test_reply_is_the_same_on_both_ways);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
