/** Requests at once and bytes of proxied routes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProxiedRouteDocument } from '../../common/config/proxied-route.ts';
import { BodyMeter } from './body-meter.ts';
import { compilePolicy } from './compile.ts';
import { Concurrency, Place } from './concurrency.ts';
import type { Decision } from './decision.ts';
import type { ProxiedFacts } from './entry.ts';
import type { Policy } from './policy.ts';
import type { RateBucket, RateBudget, Subject } from './ports.ts';
import { documentOf, HandClock, LocalRates, subjectOf } from './test-support.ts';

const upload: ProxiedRouteDocument = {
  name: 'upload',
  path: '/upload/',
  methods: ['POST'],
  roles: ['device'],
  authenticate: ['certificate'],
  integrity: undefined,
  rate: [],
  bytesRate: [],
  concurrent: 1_000,
  bodyBytes: 1_000_000,
  contentTypes: [],
  schema: undefined,
  breaker: undefined,
  webSocket: false,
};

function policyOf(
  more: Partial<ProxiedRouteDocument>,
  concurrency = new Concurrency(),
  generation = 1,
): Policy {
  const document = documentOf('limits: { identityRates: { device: [] } }');
  return compilePolicy({ ...document, proxied: [{ ...upload, ...more }] }, generation, {
    concurrency,
  });
}

function ask(
  policy: Policy,
  subject: Subject,
  facts: Partial<ProxiedFacts> = {},
): { readonly decision: Decision; readonly place: Place; readonly rates: readonly RateBucket[] } {
  const route = policy.proxied('POST', '/upload/x', subject.id);
  assert.ok(route !== undefined);
  const place = new Place();
  const bound = policy.bind('proxied', subject, route);
  const decision = bound.decide({
    authentication: { ok: true, by: 'certificate' },
    method: 'POST',
    path: '/upload/x',
    bodyBytes: 0,
    payload: undefined,
    contentType: undefined,
    signed: undefined,
    place,
    ...facts,
  });
  assert.ok(!(decision instanceof Promise));
  return { decision, place, rates: bound.rates };
}

const codeOf = (decision: Decision): string => (decision.allowed ? 'allow' : decision.code);

test('so many requests of one identity at once, and a place again when one is over', () => {
  const concurrency = new Concurrency();
  const policy = policyOf({ concurrent: 2 }, concurrency);
  const d1 = subjectOf('device', 'd1', 'device');
  const first = ask(policy, d1);
  const second = ask(policy, d1);
  assert.deepEqual(
    [first, second].map(({ decision }) => codeOf(decision)),
    ['allow', 'allow'],
  );
  const third = ask(policy, d1);
  assert.ok(!third.decision.allowed);
  assert.deepEqual([third.decision.code, third.decision.row], ['rate', 'concurrency']);
  assert.equal(codeOf(ask(policy, subjectOf('device', 'd2', 'device')).decision), 'allow');
  // One that was refused has no place to give back.
  third.place.leave();
  assert.equal(codeOf(ask(policy, d1).decision), 'rate');
  first.place.leave();
  first.place.leave();
  assert.equal(codeOf(ask(policy, d1).decision), 'allow');
  assert.equal(codeOf(ask(policy, d1).decision), 'rate');
});

test('a new policy does not let everybody begin anew, and nobody under way is nothing kept', () => {
  const concurrency = new Concurrency();
  const d1 = subjectOf('device', 'd1', 'device');
  const { place } = ask(policyOf({ concurrent: 1 }, concurrency), d1);
  assert.equal(codeOf(ask(policyOf({ concurrent: 1 }, concurrency, 2), d1).decision), 'rate');
  place.leave();
  assert.equal(concurrency.size, 0);
});

test('a request that is over before its rate was answered takes no place', async () => {
  const concurrency = new Concurrency();
  const policy = policyOf({ rate: [{ limit: 1, perMs: 1_000, burst: 5 }] }, concurrency);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const d1 = subjectOf('device', 'd1', 'device', { take: () => promise });
  const route = policy.proxied('POST', '/upload/x', 'd1');
  assert.ok(route !== undefined);
  const place = new Place();
  const decision = policy.bind('proxied', d1, route).decide({
    authentication: { ok: true, by: 'certificate' },
    method: 'POST',
    path: '/upload/x',
    bodyBytes: 0,
    payload: undefined,
    contentType: undefined,
    signed: undefined,
    place,
  });
  place.leave();
  resolve(true);
  assert.equal(codeOf(await decision), 'rate');
  assert.equal(concurrency.size, 0);
});

test('bytes of bodies are charged, beside the requests, and what can never pass is too large', () => {
  const clock = new HandClock();
  const policy = policyOf({
    rate: [{ limit: 1, perMs: 1_000, burst: 99 }],
    bytesRate: [{ limit: 1_000, perMs: 1_000, burst: 9_999 }],
  });
  const rates = new LocalRates(clock);
  const d1 = subjectOf('device', 'd1', 'device', rates);
  const { decision, rates: buckets } = ask(policy, d1, { bodyBytes: 8_000 });
  assert.equal(codeOf(decision), 'allow');
  const refused = ask(policy, d1, { bodyBytes: 5_000 }).decision;
  assert.ok(!refused.allowed);
  assert.deepEqual([refused.code, refused.retryAfterMs], ['rate', 3_000]);
  assert.deepEqual(rates.levels(buckets), [1, 8_000], 'what is refused costs nothing');
  clock.time = 3_000;
  assert.equal(codeOf(ask(policy, d1, { bodyBytes: 5_000 }).decision), 'allow');
  clock.time = 1e9;
  assert.equal(codeOf(ask(policy, d1, { bodyBytes: 10_000 }).decision), 'allow');
  clock.time = 2e9;
  assert.equal(codeOf(ask(policy, d1, { bodyBytes: 10_001 }).decision), 'too-large');
});

test('a body of unknown length is charged as it comes', async () => {
  const clock = new HandClock();
  const policy = policyOf({ bytesRate: [{ limit: 1_000, perMs: 1_000, burst: 9_999 }] });
  const rates = new LocalRates(clock);
  const d1 = subjectOf('device', 'd1', 'device', rates);
  const { decision, rates: buckets } = ask(policy, d1, { bodyBytes: 'unknown' });
  assert.equal(codeOf(decision), 'allow');
  const route = policy.proxied('POST', '/upload/x', 'd1');
  const meter = new BodyMeter(d1, route?.byteBuckets ?? []);
  assert.equal(meter.take(6_000), undefined);
  assert.deepEqual(rates.levels(buckets), [6_000]);
  const refused = await meter.take(6_000);
  assert.equal(refused?.code, 'rate');
  assert.equal(refused.retryAfterMs, 2_000);
  clock.time = 1e6;
  // In smaller pieces it would have been too much, too.
  assert.equal((await meter.take(10_001))?.code, 'rate');
  assert.equal(meter.take(10_000), undefined);
  const asked: RateBudget = { take: (list, cost) => Promise.resolve(rates.take(list, cost)) };
  clock.time = 2e6;
  const elsewhere = new BodyMeter({ ...d1, rates: asked }, route?.byteBuckets ?? []);
  assert.equal(await elsewhere.take(10_000), undefined);
  assert.equal((await elsewhere.take(1))?.code, 'rate');
  assert.equal(new BodyMeter(d1, []).take(1e9), undefined);
});
