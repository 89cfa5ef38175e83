/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPT-2's bijection between the 256 bytes and 256 printable characters, in
 * which byte-level vocabularies spell their tokens ("Ġ" is a space). No state.
 */
#ifndef ENGINE_TOKENIZER_BYTE_LEVEL_H
#define ENGINE_TOKENIZER_BYTE_LEVEL_H

#include "util/base.h"
#include "util/buf.h"

/* The code point (at most 323) that spells `byte`. */
uint32_t byte_level_char(unsigned char byte);

/* The byte that a code point spells, or -1. */
int byte_level_byte(uint32_t cp);

/* Appends the spelling of `len` bytes (at most 2 bytes each). */
void byte_level_spell(const char *bytes, size_t len, struct buf *ret);

/* Appends the bytes that `text` (valid UTF-8) spells; the text itself where
 * it has a character outside the bijection. */
void byte_level_unspell(const char *text, size_t len, struct buf *ret);

#endif
