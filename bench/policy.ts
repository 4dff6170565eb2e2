/**
 * Microseconds per policy decision on a warm MQTT publish, without and with a payload schema, and on a request to a proxied
 * route. Budgets: 0.5, 3 and 1 µs.
 * Prints one JSON line per subject: the median and the spread of the rounds.
 */
import { encode } from 'cbor2';
import { canonicalTarget } from '../src/common/base/canonical-path.ts';
import { systemClock } from '../src/common/base/clock.ts';
import { principalName } from '../src/common/base/principal.ts';
import { parseConfig } from '../src/common/config/parse-config.ts';
import { policyDocumentOf } from '../src/common/config/policy-of.ts';
import { parseStrictJson } from '../src/common/base/strict-json.ts';
import { compilePolicy } from '../src/worker/policy/compile.ts';
import { Place } from '../src/worker/policy/concurrency.ts';
import type { Bound, MessageFacts, ProxiedFacts, StagedBound } from '../src/worker/policy/entry.ts';
import { LeakyBucket, takeFromAll } from '../src/worker/policy/leaky-bucket.ts';
import type { RateBucket, RateBudget, Subject } from '../src/worker/policy/ports.ts';

const rounds = 9;
const perRound = 300_000;
const subjects = 100;

/** Every row on, limits raised: the real buckets are taken from, and never run dry. */
const rateText = 'rate: { limit: 1000000/s, burst: 1000000 }';
const configText = (schema: boolean): string => `
routes: { telemetry: { ${rateText}, breaker: { failures: 20, within: 10s, open: 1m }${schema ? ', schema: t.json' : ''} } }
limits: { identityRates: { device: { limit: 1000000/s, burst: 1000000 } } }
`;

const schemaText = JSON.stringify({
  type: 'object',
  properties: {
    temperature: { type: 'number', minimum: -40, maximum: 125 },
    humidity: { type: 'number', minimum: 0, maximum: 100 },
    battery: { type: 'number' },
    sequence: { type: 'integer', minimum: 0 },
    at: { type: 'string', maxLength: 40 },
  },
  required: ['temperature', 'at'],
  additionalProperties: false,
});
const payload = Buffer.from(
  '{"temperature":22.5,"humidity":41.2,"battery":3.71,"sequence":184467,"at":"2026-11-21T04:17:00.123Z"}',
);

class LocalRates implements RateBudget {
  #for: readonly RateBucket[] | undefined;
  #buckets: readonly LeakyBucket[] = [];

  take(buckets: readonly RateBucket[], cost: number | readonly number[]): boolean {
    if (this.#for !== buckets) {
      this.#for = buckets;
      this.#buckets = buckets.map(({ windows }) => new LeakyBucket(windows));
    }
    return takeFromAll(this.#buckets, systemClock.monotonic(), cost);
  }
}

function boundPublishes(schema: boolean): Bound<MessageFacts>[] {
  const config = parseConfig({
    configPath: '/bench.yaml',
    configText: configText(schema),
    files: { 't.json': schemaText },
  });
  const policy = compilePolicy(policyDocumentOf(config), 1);
  return Array.from({ length: subjects }, (_, i) =>
    policy.bind('publish', subjectOf(`d${i}`), `devices/d${i}/telemetry`),
  );
}

function subjectOf(id: string): Subject {
  return {
    name: principalName('device', id),
    kind: 'device',
    id,
    identity: { standing: 'active', role: 'device', anchor: 'internal' },
    rates: new LocalRates(),
  };
}

interface ProxiedBench {
  /** Checks that are bound, of a path whose route is known. */
  readonly decided: (i: number) => boolean;
  /** From the request target as it came, whose route and checks are found as a connection does for each request. */
  readonly found: (i: number) => boolean;
}

function proxiedRequests(): ProxiedBench {
  const routes = Array.from(
    { length: 20 },
    (_, i) =>
      `r${i}: { path: '/service${i}/v1/\${id}/', upstream: http://127.0.0.1:9000, ${rateText} }`,
  );
  const limits = 'limits: { identityRates: { device: { limit: 1000000/s, burst: 1000000 } } }';
  const text = `routes: { ${routes.join(', ')} }\n${limits}\n`;
  const config = parseConfig({ configPath: '/bench.yaml', configText: text, files: {} });
  const policy = compilePolicy(policyDocumentOf(config), 1);
  const peers = Array.from({ length: subjects }, (_, i) => {
    const subject = subjectOf(`d${i}`);
    const path = `/service7/v1/d${i}/readings`;
    const route = policy.proxied('POST', path, subject.id);
    if (route === undefined) throw new Error(`${path} has no route`);
    const bound = new Map([[route, policy.bind('proxied', subject, route)]]);
    return { subject, path, target: `${path}?unit=C`, route, bound };
  });
  const authentication = { ok: true, by: 'certificate' } as const;
  const decide = (bound: StagedBound<ProxiedFacts> | undefined, path: string): boolean => {
    const place = new Place();
    const decision = bound?.decide({
      authentication,
      method: 'POST',
      path,
      bodyBytes: 100,
      payload: undefined,
      contentType: 'application/json',
      signed: undefined,
      place,
    });
    place.leave();
    return decision !== undefined && 'allowed' in decision && decision.allowed;
  };
  return {
    decided: (i) => {
      const peer = peers[i % subjects];
      return peer !== undefined && decide(peer.bound.get(peer.route), peer.path);
    },
    found: (i) => {
      const peer = peers[i % subjects];
      if (peer === undefined) return false;
      const canonical = canonicalTarget(peer.target);
      if (!canonical.ok) return false;
      const { path } = canonical;
      const route = policy.proxied('POST', path, peer.subject.id);
      return route !== undefined && decide(peer.bound.get(route), path);
    },
  };
}

function measure(
  subject: string,
  budgetUs: number | undefined,
  once: (i: number) => boolean,
): void {
  const results: number[] = [];
  for (let round = 0; round < rounds + 2; round += 1) {
    let passed = 0;
    const start = process.cpuUsage();
    for (let i = 0; i < perRound; i += 1) if (once(i)) passed += 1;
    const used = process.cpuUsage(start);
    if (passed !== perRound) throw new Error(`${subject}: ${perRound - passed} were refused`);
    // The first rounds warm the compiler up.
    if (round >= 2) results.push((used.user + used.system) / perRound);
  }
  results.sort((a, b) => a - b);
  const figure = (index: number): number => Number((results[index] ?? 0).toFixed(3));
  console.log(
    JSON.stringify({
      subject,
      unit: 'µs',
      median: figure(Math.floor(rounds / 2)),
      min: figure(0),
      max: figure(rounds - 1),
      budget: budgetUs,
    }),
  );
}

const message: MessageFacts = { payload, qos: 1, retain: false, userProperties: 0 };
const inCbor: MessageFacts = {
  ...message,
  payload: Buffer.from(encode(JSON.parse(payload.toString('utf8')))),
  contentType: 'application/cbor',
};

function decides(
  bound: readonly Bound<MessageFacts>[],
  facts: MessageFacts = message,
): (i: number) => boolean {
  return (i) => {
    const decision = bound[i % subjects]?.decide(facts);
    return decision !== undefined && 'allowed' in decision && decision.allowed;
  };
}

measure('policy decision on a warm publish', 0.5, decides(boundPublishes(false)));
measure('policy decision on a warm publish with schema', 3, decides(boundPublishes(true)));
measure('the same in CBOR', undefined, decides(boundPublishes(true), inCbor));
const proxied = proxiedRequests();
measure('policy decision on a warm proxied request', 1, proxied.decided);
measure('the same, canonical path and route included', undefined, proxied.found);
measure('strict JSON alone', undefined, () => parseStrictJson(payload).ok);
measure('JSON.parse alone', undefined, () => JSON.parse(payload.toString('utf8')) !== undefined);
