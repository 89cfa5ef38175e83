/* SPDX-License-Identifier: Apache-2.0 */
#include "server/json_scan.h"

/* The index after the string that begins at text[i] == '"'. */
static size_t
skip_string(const char *text, size_t len, size_t i)
{
    for (i++; i < len && text[i] != '"'; i++) {
        if (text[i] == '\\')
            i++;
    }
    return i + 1;
}

const char *
json_scan(const char *text, size_t len, const struct json_scan_limits *limits)
{
    size_t depth = 0, containers = 0, values = 0;
    for (size_t i = 0; i < len;) {
        switch (text[i]) {
        case '"':
            i = skip_string(text, len, i);
            continue;
        case '{':
        case '[':
            if (++depth > limits->max_depth)
                return "nests too deeply";
            if (++containers > limits->max_containers)
                return "has too many objects and arrays";
            break;
        case '}':
        case ']':
            depth -= depth > 0;
            break;
        case ',':
            if (++values > limits->max_values)
                return "has too many values";
            break;
        default:
            break;
        }
        i++;
    }
    return NULL;
}
