/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes: small requests beside a run and outside its --max-concurrency, one
 * after another with a pause between, to see how a busy server treats a small
 * request. On lane 0.
 */
#include "loadgen/client_private.h"

static char probe_text[] = "Hi";
static const struct prompt probe_prompt = {
    .text = probe_text, .text_bytes = 2, .len = 1, .output_len = 1};

static void send_probe(struct client *c);

static void
on_pause_over(uv_timer_t *timer)
{
    send_probe(container_of(timer, struct client, prober.pause));
}

static void
on_probe_done(struct request *r)
{
    struct client *c = r->lane->client;
    struct prober *p = &c->prober;
    if (p->reply.status == REPLY_SUCCEEDED)
        samples_record(&p->latencies_s, reply_latency_s(&p->reply));
    else
        p->num_failed++;
    reply_release(&p->reply);
    if (!c->over)
        uv_timer_start(&p->pause, on_pause_over, (uint64_t)(1000 / c->run->probe_request_rate), 0);
}

static void
send_probe(struct client *c)
{
    struct prober *p = &c->prober;
    struct error err;
    reply_init(&p->reply, config_is_chat(c->config) ? REPLY_CHAT : REPLY_COMPLETION,
               (int64_t)probe_prompt.len);
    if (client_send(&c->lanes[0], &probe_prompt, NO_ID, &p->reply, on_probe_done, &err) < 0)
        p->num_failed++;
}

void
prober_start(struct client *c)
{
    c->prober.latencies_s = (struct samples){0};
    c->prober.num_failed = 0;
    send_probe(c);
}

void
prober_stop(struct client *c)
{
    uv_timer_stop(&c->prober.pause);
    reply_release(&c->prober.reply); /* of one that the run's end cancelled */
}
