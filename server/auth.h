/* SPDX-License-Identifier: Apache-2.0 */
/*
 * API keys. Only SHA-256 digests are kept, and a key given is compared with all
 * of them in constant time, so that neither a core dump nor a clock tells one.
 */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "util/base.h"

#define SHA256_BYTES 32

void sha256(const void *bytes, size_t len, unsigned char ret[SHA256_BYTES]);

struct auth {
    unsigned char (*digests)[SHA256_BYTES]; /* owned */
    size_t num_digests;                     /* 0: everybody may come in */
};

/* 0 or ERR_NOMEM. */
int auth_init(struct auth *a, const char *const *keys, size_t num_keys);
void auth_release(struct auth *a);
/* Whether an Authorization header ("Bearer KEY"; may be NULL) opens the door. */
bool auth_allows(const struct auth *a, const char *authorization);

#endif
