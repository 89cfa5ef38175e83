/* SPDX-License-Identifier: Apache-2.0 */
/* Against values of scipy.stats 1.17.1 (t.sf, t.ppf, ttest_ind). */
#include "tests/unit/main.h"
#include "util/student.h"

#include <check.h>
#include <math.h>

START_TEST(test_two_sided_equals_scipy)
{
    static const struct {
        double t, dof, probability;
    } cases[] = {
        {0.0, 3.0, 1.0},
        {0.5, 1.0, 0.7048327646991335},
        {2.0, 10.0, 0.07338803477074037},
        {12.7, 1.0, 0.050024327689344165},
        {1.5, 2.5, 0.24783645308629618},
        {6.0, 200.0, 9.115120348810346e-09},
        {0.001, 30.0, 0.9992087357664851},
        {40.0, 4.0, 2.3340163226012678e-06},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        double p = student_two_sided(cases[i].t, cases[i].dof);
        ck_assert_msg(fabs(p - cases[i].probability) <= 1e-11 * cases[i].probability + 1e-300,
                      "t %g, dof %g: %.17g", cases[i].t, cases[i].dof, p);
        ck_assert_double_eq(p, student_two_sided(-cases[i].t, cases[i].dof));
    }
}
END_TEST

START_TEST(test_quantile_equals_scipy)
{
    static const struct {
        double probability, dof, t;
    } cases[] = {
        {0.95, 1.0, 12.706204736174694},
        {0.95, 2.0, 4.302652729749462},
        {0.95, 4.0, 2.7764451051977934},
        {0.95, 29.0, 2.045229642132703},
        {0.99, 9.0, 3.249835541592126},
        {0.5, 7.0, 0.7111417780817866},
        {0.95, 3.7, 2.8675207071911895},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        ck_assert_double_eq_tol(student_quantile(cases[i].probability, cases[i].dof), cases[i].t,
                                1e-9 * cases[i].t);
}
END_TEST

START_TEST(test_welch_equals_scipy)
{
    static const double a[] = {10, 12, 11, 13, 9}, b[] = {14, 15, 13.5, 16};
    struct student_mean ma = student_mean(a, 5), mb = student_mean(b, 4);
    ck_assert_double_eq(ma.mean, 11);
    ck_assert_double_eq_tol(ma.std, sqrt(2.5), 1e-12);
    ck_assert_double_eq_tol(student_welch(&ma, &mb), 0.00506462814484085, 1e-12);
    ck_assert_double_eq_tol(student_half_width(&ma), 2.7764451051977987 * sqrt(0.5), 1e-9);
}
END_TEST

/* One run says nothing of its spread. */
START_TEST(test_single_values_claim_nothing)
{
    static const double a[] = {1}, same[] = {2, 2}, other[] = {3, 3};
    struct student_mean one = student_mean(a, 1), two = student_mean(same, 2),
                        three = student_mean(other, 2);
    ck_assert(isnan(one.std) && isnan(student_half_width(&one)));
    ck_assert_double_eq(student_welch(&one, &two), 1);
    ck_assert_double_eq(student_welch(&two, &two), 1);
    ck_assert_double_eq(student_welch(&two, &three), 0);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("student");
    TCase *tcase = tcase_create("student");
    tcase_add_test(tcase, test_two_sided_equals_scipy);
    tcase_add_test(tcase, test_quantile_equals_scipy);
    tcase_add_test(tcase, test_welch_equals_scipy);
    tcase_add_test(tcase, test_single_values_claim_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
