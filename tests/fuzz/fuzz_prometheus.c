/* SPDX-License-Identifier: Apache-2.0 */
/* A page of /metrics: a last line that is not whole changes nothing. */
#include "loadgen/prometheus.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine_reading all, whole_lines;
    const char *page = (const char *)data;
    const char *last = size == 0 ? NULL : memrchr(page, '\n', size);
    machine_reading_init(&all);
    machine_reading_init(&whole_lines);
    machine_reading_add(&all, page, size);
    machine_reading_add(&whole_lines, page, last == NULL ? 0 : (size_t)(last + 1 - page));
    ASSERT(memcmp(&all, &whole_lines, sizeof all) == 0);
    return 0;
}
