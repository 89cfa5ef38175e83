/* SPDX-License-Identifier: Apache-2.0 */
/* The written forms of option values: bools, sizes, decimals, ranges. */
#include "util/decimal.h"
#include "util/option_private.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <strings.h>

#define EXACT_INT_LIMIT 0x1p53 /* beyond it a double is no longer every integer */

int
option_parse_bool(const char *text, bool *ret)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return ERR_INVALID;
}

/* 1 for no suffix, 0 for one that is not known. */
static int64_t
suffix_factor(const char *suffix)
{
    if (*suffix == '\0')
        return 1;
    if (suffix[1] != '\0')
        return 0;
    switch (*suffix) {
    case 'k': return 1000;
    case 'K': return 1 << 10;
    case 'm': return 1000000;
    case 'M': return 1 << 20;
    case 'g': return 1000000000;
    case 'G': return 1 << 30;
    case 't': return 1000000000000;
    case 'T': return (int64_t)1 << 40;
    default: return 0;
    }
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Decimal digits with at most one point, as digits * 10^-scale. */
static int
parse_decimal(const char **text, uint64_t *ret_digits, unsigned *ret_scale)
{
    uint64_t digits = 0;
    unsigned scale = 0;
    bool point = false, any = false;
    const char *p = *text;
    for (; is_digit(*p) || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        if (mul_overflow(digits, 10, &digits) ||
            add_overflow(digits, (uint64_t)(*p - '0'), &digits))
            return ERR_RANGE;
        scale += point;
    }
    *text = p;
    *ret_digits = digits;
    *ret_scale = scale;
    return any ? 0 : ERR_INVALID;
}

int
option_parse_int(const char *text, int64_t *ret)
{
    bool negative = *text == '-';
    if (*text == '-' || *text == '+')
        text++;
    uint64_t digits;
    unsigned scale;
    int r = parse_decimal(&text, &digits, &scale);
    if (r < 0)
        return r;
    int64_t factor = suffix_factor(text);
    if (factor == 0)
        return ERR_INVALID;
    unsigned __int128 value = (unsigned __int128)digits * (uint64_t)factor;
    for (; scale > 0; scale--) {
        if (value % 10 != 0)
            return ERR_INVALID;
        value /= 10;
    }
    if (value > INT64_MAX)
        return ERR_RANGE;
    *ret = negative ? -(int64_t)value : (int64_t)value;
    return 0;
}

int
option_parse_float(const char *text, double *ret)
{
    /* strtod alone would also take blanks, hexadecimals and "nan". */
    const char *p = text + (*text == '-' || *text == '+');
    bool is_inf = strcasecmp(p, "inf") == 0;
    if (!is_inf && (*p == '\0' || strspn(p, "0123456789.eE+-") != strlen(p)))
        return ERR_INVALID;
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || *end != '\0')
        return ERR_INVALID;
    if (!is_inf && isinf(v))
        return ERR_RANGE;
    *ret = v;
    return 0;
}

static void
print_limit(const struct option *o, double limit, struct buf *ret)
{
    if (o->type == OPT_INT)
        buf_printf(ret, "%lld", (long long)limit);
    else
        decimal_print(limit, false, ret);
}

void
option_print_range(const struct option *o, struct buf *ret)
{
    if ((o->type != OPT_INT && o->type != OPT_FLOAT) || o->min == o->max)
        return;
    double far = o->type == OPT_INT ? EXACT_INT_LIMIT : DBL_MAX;
    bool low = o->min > -far, high = o->max < far;
    if (low && high) {
        print_limit(o, o->min, ret);
        buf_puts(ret, "..");
        print_limit(o, o->max, ret);
    } else if (low || high) {
        buf_puts(ret, low ? "at least " : "at most ");
        print_limit(o, low ? o->min : o->max, ret);
    }
}

void
option_print_choices(const struct option *o, struct buf *ret)
{
    for (size_t i = 0; o->choices[i] != NULL; i++)
        buf_printf(ret, "%s%s", i == 0 ? "" : ", ", o->choices[i]);
}

static bool
needs_quotes(const char *text)
{
    return *text == '\0' || strpbrk(text, " \t\r\n\"\\#") != NULL;
}

void
option_print_word(const char *text, struct buf *ret)
{
    if (!needs_quotes(text)) {
        buf_puts(ret, text);
        return;
    }
    buf_putc(ret, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buf_putc(ret, '\\');
        buf_putc(ret, *text);
    }
    buf_putc(ret, '"');
}

static void
print_list(const struct option_list *list, struct buf *ret)
{
    for (size_t i = 0; i < list->len; i++) {
        if (i > 0)
            buf_putc(ret, ' ');
        option_print_word(list->items[i], ret);
    }
}

void
option_print_value(const struct option *o, const void *config, struct buf *ret)
{
    const void *field = option_field(o, config);
    switch (o->type) {
    case OPT_BOOL: buf_puts(ret, *(const bool *)field ? "true" : "false"); break;
    case OPT_INT:
        if (o->fallback != NULL || *(const int64_t *)field != 0)
            buf_printf(ret, "%lld", (long long)*(const int64_t *)field);
        break;
    case OPT_FLOAT:
        if (!isnan(*(const double *)field))
            decimal_print(*(const double *)field, false, ret);
        break;
    case OPT_STRING:
        if (*(char *const *)field != NULL)
            option_print_word(*(char *const *)field, ret);
        break;
    case OPT_CHOICE:
        if (*(const int *)field >= 0)
            buf_puts(ret, o->choices[*(const int *)field]);
        break;
    case OPT_LIST: print_list(field, ret); break;
    case OPT_IGNORED:
    case OPT_REFUSED: break;
    }
}
