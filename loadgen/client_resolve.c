/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's name is looked up once, before the run: a thousand requests that
 * start at once would each ask, and the answer would be part of their TTFT.
 */
#include "loadgen/client_private.h"

#include <netdb.h>
#include <string.h>

/* "name:port:address,address", as CURLOPT_RESOLVE takes it. */
static void
write_entry(const char *host, const char *port, const struct addrinfo *found, struct buf *ret)
{
    const char *between = "";
    buf_printf(ret, "%s:%s:", host, port);
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        char text[NI_MAXHOST];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0,
                        NI_NUMERICHOST) != 0)
            continue;
        bool is_v6 = a->ai_family == AF_INET6;
        buf_printf(ret, "%s%s%s%s", between, is_v6 ? "[" : "", text, is_v6 ? "]" : "");
        between = ",";
    }
}

struct curl_slist *
client_resolve(const char *url)
{
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST}, *found = NULL;
    struct curl_slist *list = NULL;
    struct buf entry = {0};
    if (parts == NULL || curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
        goto out;
    bool is_address = host[0] == '[' || getaddrinfo(host, NULL, &numeric, &found) == 0;
    if (is_address || getaddrinfo(host, NULL, &hints, &found) != 0)
        goto out; /* a name that is not known is an error of each request */
    write_entry(host, port, found, &entry);
    list = curl_slist_append(NULL, buf_bytes(&entry));
out:
    if (found != NULL)
        freeaddrinfo(found);
    buf_release(&entry);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return list;
}
