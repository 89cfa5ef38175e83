/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes: small requests beside a run and outside its --max-concurrency, one
 * after another with a pause between, to see how a busy server treats a small
 * request. On lane 0.
 */
#include "loadgen/client_private.h"

#include <math.h>

static char probe_text[] = "Hi";
static const struct prompt probe_prompt = {
    .text = probe_text, .text_bytes = 2, .len = 1, .output_len = 1};

#define PAUSE_MAX_MS 1e12

static void send_probe(struct client *c);

static void
on_pause_over(uv_timer_t *timer)
{
    send_probe(container_of(timer, struct client, prober.pause));
}

static void
end_probe(struct client *c)
{
    struct prober *p = &c->prober;
    if (p->reply.status == REPLY_SUCCEEDED)
        samples_record(&p->latencies_s, reply_latency_s(&p->reply));
    else
        p->num_failed++;
    reply_release(&p->reply);
    p->is_waiting = false;
    if (c->over)
        return;
    double pause_ms = MIN(ceil(1000 / c->run->probe_request_rate), PAUSE_MAX_MS);
    uv_timer_start(&p->pause, on_pause_over, (uint64_t)pause_ms, 0);
}

static void
on_probe_done(struct request *r)
{
    struct client *c = r->lane->client;
    end_probe(c);
    if (c->prober.is_finishing)
        uv_stop(&r->lane->loop);
}

static void
send_probe(struct client *c)
{
    struct prober *p = &c->prober;
    struct error err;
    reply_init(&p->reply, config_is_chat(c->config) ? REPLY_CHAT : REPLY_COMPLETION,
               (int64_t)probe_prompt.len);
    p->is_waiting = true;
    if (client_send(&c->lanes[0], &probe_prompt, NO_ID, &p->reply, on_probe_done, &err) < 0)
        end_probe(c);
}

void
prober_start(struct client *c)
{
    send_probe(c);
}

void
prober_finish(struct client *c)
{
    struct prober *p = &c->prober;
    uv_timer_stop(&p->pause);
    p->is_finishing = true;
    if (p->is_waiting && !c->interrupted)
        uv_run(&c->lanes[0].loop, UV_RUN_DEFAULT);
    p->is_finishing = false;
}

void
prober_collect(struct client *c, struct client_outcome *ret)
{
    struct prober *p = &c->prober;
    ret->probe_latencies_s = p->latencies_s;
    ret->num_probes_failed = p->num_failed;
    reply_release(&p->reply); /* of one that Ctrl-C has cancelled */
    p->latencies_s = (struct samples){0};
    p->num_failed = 0;
    p->is_waiting = false;
}
