/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How wrong loadgen is: the client against a server that knows what it sent
 * when (loadgen/mock.h), with 1 to 1000 streams that all start at once.
 */
#ifndef LOADGEN_SELF_TEST_H
#define LOADGEN_SELF_TEST_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

struct self_test_args {
    const size_t *stream_counts;
    size_t num_counts;
    uint64_t ttft_ns, itl_ns;
    size_t num_tokens;
    int64_t threads; /* of the client; 0: as it chooses itself */
};

/* TTFT 50 ms, ITL 10 ms, 100 tokens, 1, 10, 100, 500 and 1000 streams: the
 * matrix that vLLM's Rust client was published with. */
extern const struct self_test_args self_test_default;

/* Appends a table; *ret_good: at each count p99 of the error of TTFT was below
 * 5 ms and that of ITL below 1 ms. */
int self_test(const struct self_test_args *args, struct buf *ret_table, bool *ret_good,
              struct error *err);

#endif
