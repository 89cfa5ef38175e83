/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: the header parser of safetensors on any bytes. The first
 * two bytes choose how much data the file would have. Whatever is accepted must
 * keep the promises of the header: ranges inside the data, no two overlapping.
 */
#include "engine/safetensors.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len < 2)
        return 0;
    uint64_t data_bytes = bytes[0] | (uint64_t)bytes[1] << 8;
    struct safetensor *tensors = NULL;
    size_t num = 0;
    struct error err = {0};
    int code = safetensors_parse_header((const char *)bytes + 2, len - 2, data_bytes, &tensors,
                                        &num, &err);
    if (code != 0) {
        ASSERT(err.code == code && err.text[0] != '\0');
        return 0;
    }
    uint64_t at = 0;
    for (size_t i = 0; i < num; i++) {
        const struct safetensor *t = &tensors[i];
        ASSERT(t->offset == at && t->bytes <= data_bytes - at);
        ASSERT(t->rank >= 0 && t->rank <= SAFETENSORS_MAX_RANK);
        uint64_t elements = 1;
        for (int k = 0; k < t->rank; k++)
            elements *= (uint64_t)t->shape[k];
        if (t->dtype_supported)
            ASSERT(elements * dtype_bytes(t->dtype) == t->bytes);
        ASSERT(strlen(t->name) <= SAFETENSORS_MAX_NAME_BYTES);
        at += t->bytes;
    }
    ASSERT(at == data_bytes);
    safetensors_free_tensors(tensors, num);
    return 0;
}
