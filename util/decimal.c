/* SPDX-License-Identifier: Apache-2.0 */
#include "util/decimal.h"

#include <math.h>

/* The fewest digits after the first that keep the value; 16 always do. */
static int
digits_needed(double v, char *text, size_t text_bytes)
{
    for (int digits = 0; digits < 16; digits++) {
        snprintf(text, text_bytes, "%.*e", digits, v);
        if (strtod(text, NULL) == v)
            return digits;
    }
    snprintf(text, text_bytes, "%.16e", v);
    return 16;
}

void
decimal_print(double v, bool point, struct buf *ret)
{
    char text[40];
    if (!isfinite(v)) {
        buf_puts(ret, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    int digits = digits_needed(v, text, sizeof text);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        buf_puts(ret, text);
        return;
    }
    int decimals = MAX(digits - exponent, 0);
    buf_printf(ret, "%.*f%s", decimals, v, decimals == 0 && point ? ".0" : "");
}
