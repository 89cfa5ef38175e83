/* SPDX-License-Identifier: Apache-2.0 */
#include "util/decimal.h"

#include <float.h>
#include <math.h>

/* |value| as d.ddd x 10^exponent: the digits without the point. */
struct decimal {
    char digits[24];
    int num_digits, exponent;
};

static void
decimal_round(double value, int num_digits, struct decimal *ret)
{
    char text[40];
    snprintf(text, sizeof text, "%.*e", num_digits - 1, value);
    ret->digits[0] = text[0];
    if (num_digits > 1)
        memcpy(ret->digits + 1, text + 2, (size_t)num_digits - 1);
    ret->num_digits = num_digits;
    ret->exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
}

static double
decimal_value(const struct decimal *d)
{
    char text[48];
    snprintf(text, sizeof text, "%c.%.*se%d", d->digits[0], d->num_digits - 1, d->digits + 1,
             d->exponent);
    return strtod(text, NULL);
}

/* The next decimal above, of as many digits. */
static void
decimal_increment(struct decimal *d)
{
    int i = d->num_digits - 1;
    while (i >= 0 && d->digits[i] == '9')
        d->digits[i--] = '0';
    if (i >= 0) {
        d->digits[i]++;
    } else {
        d->digits[0] = '1';
        d->exponent++;
    }
}

/*
 * The shortest digits that read back as `value` > 0. 15 digits always survive
 * the way through a (normal) double, so that fewer are 15 with zeros at the
 * end. Below a power of two doubles lie twice as dense as above it: there the
 * nearest decimal of 16 digits may miss although the one above it does not.
 */
static void
decimal_shortest(double value, struct decimal *ret)
{
    for (int n = value < DBL_MIN ? 1 : 15; n <= 17; n++) {
        decimal_round(value, n, ret);
        if (n == 17 || decimal_value(ret) == value)
            break;
        decimal_increment(ret);
        if (decimal_value(ret) == value)
            break;
    }
    while (ret->num_digits > 1 && ret->digits[ret->num_digits - 1] == '0')
        ret->num_digits--;
}

/* The digits with the point among them, `point` digits before it. */
static void
print_plain(const struct decimal *d, int point, bool with_point, struct buf *ret)
{
    int n = d->num_digits;
    if (point <= 0)
        buf_puts(ret, "0.");
    for (int i = point; i < 0; i++)
        buf_putc(ret, '0');
    for (int i = 0; i < n; i++) {
        if (i == point && point > 0)
            buf_putc(ret, '.');
        buf_putc(ret, d->digits[i]);
    }
    for (int i = n; i < point; i++)
        buf_putc(ret, '0');
    if (n <= point && with_point)
        buf_puts(ret, ".0");
}

void
decimal_print(double v, bool point, struct buf *ret)
{
    if (!isfinite(v)) {
        buf_puts(ret, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    if (signbit(v))
        buf_putc(ret, '-');
    if (v == 0) {
        buf_puts(ret, point ? "0.0" : "0");
        return;
    }
    struct decimal d;
    decimal_shortest(fabs(v), &d);
    if (d.exponent >= -4 && d.exponent < 16) {
        print_plain(&d, d.exponent + 1, point, ret);
        return;
    }
    buf_putc(ret, d.digits[0]);
    if (d.num_digits > 1) {
        buf_putc(ret, '.');
        buf_append(ret, d.digits + 1, (size_t)d.num_digits - 1);
    }
    buf_printf(ret, "e%c%02d", d.exponent < 0 ? '-' : '+', abs(d.exponent));
}
