/**
 * Microseconds per policy decision on a warm MQTT publish, without and with a payload schema. Budgets: 0.5 and 3 µs.
 * Prints one JSON line per subject: the median and the spread of the rounds.
 */
import { systemClock } from '../src/common/base/clock.ts';
import { principalName } from '../src/common/base/principal.ts';
import { parseConfig } from '../src/common/config/parse-config.ts';
import { policyDocumentOf } from '../src/common/config/policy-of.ts';
import { parseStrictJson } from '../src/common/base/strict-json.ts';
import { compilePolicy } from '../src/worker/policy/compile.ts';
import type { Bound, MessageFacts } from '../src/worker/policy/entry.ts';
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

  take(buckets: readonly RateBucket[], cost: number): boolean {
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
  return Array.from({ length: subjects }, (_, i) => {
    const id = `d${i}`;
    const subject: Subject = {
      name: principalName('device', id),
      kind: 'device',
      id,
      identity: { standing: 'active', role: 'device', anchor: 'internal' },
      rates: new LocalRates(),
    };
    return policy.bind('publish', subject, `devices/${id}/telemetry`);
  });
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

function decides(bound: readonly Bound<MessageFacts>[]): (i: number) => boolean {
  return (i) => {
    const decision = bound[i % subjects]?.decide(message);
    return decision !== undefined && 'allowed' in decision && decision.allowed;
  };
}

measure('policy decision on a warm publish', 0.5, decides(boundPublishes(false)));
measure('policy decision on a warm publish with schema', 3, decides(boundPublishes(true)));
measure('strict JSON alone', undefined, () => parseStrictJson(payload).ok);
measure('JSON.parse alone', undefined, () => JSON.parse(payload.toString('utf8')) !== undefined);
