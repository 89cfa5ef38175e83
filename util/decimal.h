/* SPDX-License-Identifier: Apache-2.0 */
/* Doubles as the shortest decimal that reads back as the same bits. */
#ifndef UTIL_DECIMAL_H
#define UTIL_DECIMAL_H

#include "util/base.h"
#include "util/buf.h"

/*
 * Appends `v` as Python writes it: "0.1", "1e-05", "1e+16", "inf", "nan"; a
 * whole number is "10.0" with `point`, else "10".
 */
void decimal_print(double v, bool point, struct buf *ret);

#endif
