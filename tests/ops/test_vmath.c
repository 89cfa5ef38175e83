/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accuracy of exp, log and tanh as the kernels compute them (generic build;
 * AVX2 differs by the fused roundings), over a sweep of all magnitudes.
 */
/* no vector crosses a call */
#pragma GCC diagnostic ignored "-Wpsabi"

#include "kernels/cpu/vmath.h"
#include "tests/ops/fixture.h"

/* Distance in units of the last place of `want`. */
static double
ulps(float got, double want)
{
    int e;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1, MAX(e, -125) - 24);
}

static float
float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

START_TEST(test_vmath_is_within_two_ulps)
{
    double worst_exp = 0, worst_log = 0, worst_tanh = 0;
    for (uint32_t bits = 0x00800000; bits < 0x42b17200; bits += 1009) {
        float x = float_of(bits);
        for (int sign = -1; sign <= 1; sign += 2) {
            float y = (float)sign * x;
            if (y > -87.33f)
                worst_exp = MAX(worst_exp, ulps(v_exp(v_set(y))[0], exp((double)y)));
            worst_tanh = MAX(worst_tanh, ulps(v_tanh(v_set(y))[0], tanh((double)y)));
        }
    }
    for (uint32_t bits = 0x00800000; bits < 0x7f800000; bits += 2003) {
        float x = float_of(bits);
        worst_log = MAX(worst_log, ulps(v_log(v_set(x))[0], log((double)x)));
    }
    ck_assert_msg(worst_exp < 1.2 && worst_log < 1 && worst_tanh < 1.5,
                  "exp %.2f log %.2f tanh %.2f", worst_exp, worst_log, worst_tanh);
}
END_TEST

START_TEST(test_vmath_ends_of_range)
{
    vf x = {-INFINITY, INFINITY, NAN, 0, -0.0f, -100, 89, 88.72f};
    vf e = v_exp(x), t = v_tanh(x);
    ck_assert(e[0] == 0 && isinf(e[1]) && isnan(e[2]) && e[3] == 1 && e[4] == 1 && e[5] == 0);
    ck_assert(isinf(e[6]) && isfinite(e[7]) && e[7] > 3e38f);
    ck_assert(t[0] == -1 && t[1] == 1 && isnan(t[2]) && t[3] == 0 && signbit(t[4]) && t[6] == 1);
    ck_assert(v_log(v_set(0))[0] == -INFINITY && v_log(v_set(1))[0] == 0);
}
END_TEST

TCase *
vmath_tests(void)
{
    TCase *tc = tcase_create("vmath");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_vmath_is_within_two_ulps);
    tcase_add_test(tc, test_vmath_ends_of_range);
    return tc;
}
