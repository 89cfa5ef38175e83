/* SPDX-License-Identifier: Apache-2.0 */
#include "server/api_error.h"

#include "util/json.h"
#include "util/utf8.h"

static const struct {
    int status;
    const char *type;
    const char *code;
} kinds[] = {
#define X(kind, status, type, code) [API_ERROR_##kind] = {status, type, code},
    API_ERROR_MAP(X)
#undef X
};

static void
set_param(struct api_error *e, enum api_error_kind kind, const char *param)
{
    if (kind == API_ERROR_BAD_BODY)
        snprintf(e->param, sizeof e->param, param == NULL ? "body" : "body.%s", param);
    else
        snprintf(e->param, sizeof e->param, "%s", param == NULL ? "" : param);
}

int
api_error_set(struct api_error *e, enum api_error_kind kind, const char *param, const char *fmt,
              ...)
{
    *e = (struct api_error){.kind = kind, .set = true};
    set_param(e, kind, param);
    struct buf text = {0};
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    size_t len = utf8_cut(buf_bytes(&text), buf_len(&text), sizeof e->message - 1);
    memcpy(e->message, buf_bytes(&text), len);
    e->message[len] = '\0';
    buf_release(&text);
    return -1;
}

int
api_error_status(enum api_error_kind kind)
{
    return kinds[kind].status;
}

void
api_error_write(const struct api_error *e, struct buf *ret)
{
    buf_puts(ret, "{\"error\":{\"message\":");
    json_write_string(ret, e->message, strlen(e->message));
    buf_puts(ret, ",\"type\":");
    json_write_string(ret, kinds[e->kind].type, strlen(kinds[e->kind].type));
    buf_puts(ret, ",\"param\":");
    if (e->param[0] == '\0')
        buf_puts(ret, "null");
    else
        json_write_string(ret, e->param, strlen(e->param));
    buf_puts(ret, ",\"code\":");
    if (kinds[e->kind].code == NULL)
        json_write_int(ret, kinds[e->kind].status);
    else
        json_write_string(ret, kinds[e->kind].code, strlen(kinds[e->kind].code));
    buf_puts(ret, "}}");
}
