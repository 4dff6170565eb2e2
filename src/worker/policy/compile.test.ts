import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denyCodes } from '../../common/base/errors.ts';
import { standings } from '../../common/base/principal.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import { Breakers } from './breakers.ts';
import { compilePolicy } from './compile.ts';
import type { Decision } from './decision.ts';
import type { Entry } from './entry.ts';
import { explain } from './explain.ts';
import type { RateBucket, RateBudget } from './ports.ts';
import { HandClock, LocalRates, documentOf, messageOfText, subjectOf } from './test-support.ts';

const own = 'devices/d1/telemetry';
const schemaFile = {
  't.json': JSON.stringify({
    type: 'object',
    properties: { temperature: { type: 'number' } },
    required: ['temperature'],
  }),
};
const withSchema = `
routes:
  telemetry:
    schema: t.json
    rate: []
    breaker: { failures: 3, within: 10s, open: 1m }
`;
const good = messageOfText('{"temperature":22.5}');
const bad = messageOfText('{"temperature":"warm"}');

function codeOf(decision: Decision | Promise<Decision>): string {
  assert.ok(!(decision instanceof Promise), 'decided later');
  return decision.allowed ? 'allow' : decision.code;
}

const defaults = compilePolicy(documentOf('workers: 1'), 7);

test('rows stand in the order of their cost, and the table says what each entry point asks', () => {
  const table = defaults.table();
  assert.deepEqual(
    table.map(({ row }) => row),
    [
      'source',
      'authentication',
      'standing',
      'rate',
      'concurrency',
      'breaker',
      'size',
      'authorisation',
      'integrity',
      'schema',
      'accept',
    ],
  );
  const asked = (entry: Entry): string[] =>
    table.filter(({ cells }) => cells[entry] !== undefined).map(({ row }) => row);
  assert.deepEqual(asked('accept'), ['source', 'accept']);
  assert.deepEqual(asked('connect'), ['authentication', 'standing', 'rate', 'accept']);
  assert.deepEqual(asked('request'), ['authentication', 'standing', 'rate', 'accept']);
  assert.deepEqual(asked('publish'), [
    'authentication',
    'standing',
    'rate',
    'breaker',
    'size',
    'authorisation',
    'integrity',
    'schema',
    'accept',
  ]);
  assert.deepEqual(asked('will'), asked('publish'));
  assert.deepEqual(asked('will-publish'), [
    'standing',
    'size',
    'authorisation',
    'integrity',
    'schema',
    'accept',
  ]);
  assert.deepEqual(asked('subscribe'), ['standing', 'rate', 'size', 'authorisation', 'accept']);
  assert.deepEqual(asked('deliver'), ['standing', 'authorisation', 'accept']);
  for (const { codes } of table)
    for (const code of codes)
      assert.ok(
        denyCodes.some((c) => c === code),
        code,
      );
  assert.ok(Object.isFrozen(defaults) && Object.isFrozen(table) && Object.isFrozen(table[0]));
  assert.equal(defaults.generation, 7);
});

test('a connection without a place, a proof or a principal is refused', () => {
  const d1 = subjectOf('device', 'd1', 'device');
  assert.equal(codeOf(defaults.bind('accept').decide({ refusal: undefined })), 'allow');
  assert.equal(codeOf(defaults.bind('accept').decide({ refusal: 'source-rate' })), 'busy');
  const connect = (subject: typeof d1 | undefined, ok: boolean): string =>
    codeOf(
      defaults
        .bind('connect', subject)
        .decide({ authentication: ok ? { ok } : { ok, detail: 'expired' } }),
    );
  assert.equal(connect(d1, true), 'allow');
  assert.equal(connect(d1, false), 'unauthenticated');
  assert.equal(connect(undefined, true), 'unauthenticated');
});

test('standing acts on what is already bound, at every entry point', () => {
  for (const standing of standings) {
    const subject = subjectOf('device', 'd1', 'device');
    const bound = [
      () => defaults.bind('connect', subject).decide({ authentication: { ok: true } }),
      ...[
        defaults.bind('publish', subject, own),
        defaults.bind('will', subject, own),
        defaults.bind('will-publish', subject, own),
      ].map((b) => () => b.decide(good)),
      ...[
        defaults.bind('subscribe', subject, 'devices/d1/commands/#'),
        defaults.bind('deliver', subject, 'devices/d1/commands/x'),
      ].map((b) => () => b.decide()),
    ];
    assert.deepEqual(new Set(bound.map((decide) => codeOf(decide()))), new Set(['allow']));
    subject.identity.standing = standing;
    const expected = standing === 'active' ? 'allow' : 'standing';
    assert.deepEqual(
      new Set(bound.map((decide) => codeOf(decide()))),
      new Set([expected]),
      standing,
    );
  }
});

test('a request is judged as a connection is; the time is reached from quarantine too', () => {
  const device = subjectOf('device', 'd1', 'device');
  const ok = { authentication: { ok: true } } as const;
  assert.equal(codeOf(defaults.bind('request', undefined, 'time').decide(ok)), 'unauthenticated');
  const failed = { authentication: { ok: false, detail: 'x' } } as const;
  assert.equal(codeOf(defaults.bind('request', device, 'time').decide(failed)), 'unauthenticated');
  const service = defaults.bind('request', device, 'service');
  const time = defaults.bind('request', device, 'time');
  for (const standing of standings) {
    device.identity.standing = standing;
    const reaches = ['active', 'quarantined', 'firmware-floor'].includes(standing);
    assert.equal(codeOf(service.decide(ok)), standing === 'active' ? 'allow' : 'standing');
    assert.equal(codeOf(time.decide(ok)), reaches ? 'allow' : 'standing', standing);
  }
});

test('requests are charged to the identity, whatever they ask for', () => {
  const clock = new HandClock();
  const slow = 'limits: { identityRates: { device: { limit: 1/m, burst: 2 } } }';
  const policy = compilePolicy(documentOf(slow), 1);
  const device = subjectOf('device', 'd1', 'device', new LocalRates(clock));
  const ok = { authentication: { ok: true } } as const;
  const codes = (['service', 'time', 'service', 'time'] as const).map((reach) =>
    codeOf(policy.bind('request', device, reach).decide(ok)),
  );
  assert.deepEqual(codes, ['allow', 'allow', 'allow', 'rate']);
});

test('a change of role acts on what is already bound', () => {
  const subject = subjectOf('service', 'be', 'backend');
  const bound = defaults.bind('deliver', subject, own);
  assert.equal(codeOf(bound.decide()), 'allow');
  subject.identity.role = 'none';
  assert.equal(codeOf(bound.decide()), 'forbidden');
  assert.equal(defaults.permits('subscribe', subject, 'devices/+/telemetry'), false);
  subject.identity.role = 'backend';
  assert.equal(codeOf(bound.decide()), 'allow');
  assert.equal(defaults.permits('subscribe', subject, 'devices/+/telemetry'), true);
});

test('the twelfth message of a burst is refused, on every connection of the identity together', () => {
  const clock = new HandClock();
  const rates = new LocalRates(clock);
  const first = defaults.bind('publish', subjectOf('device', 'd1', 'device', rates), own);
  const second = defaults.bind('publish', subjectOf('device', 'd1', 'device', rates), own);
  const codes = Array.from({ length: 12 }, (_, i) =>
    codeOf((i % 2 === 0 ? first : second).decide(good)),
  );
  assert.deepEqual(codes, [...Array.from({ length: 11 }, () => 'allow'), 'rate']);
  clock.time = 200;
  assert.equal(codeOf(first.decide(good)), 'allow');
  assert.equal(codeOf(second.decide(good)), 'rate');
});

test('bindings of one kind of topic share one frozen list of buckets', () => {
  const rates = new LocalRates(new HandClock());
  for (const id of ['d1', 'd2']) {
    void defaults
      .bind('publish', subjectOf('device', id, 'device', rates), `devices/${id}/telemetry`)
      .decide(good);
  }
  assert.equal(rates.seen[0], rates.seen[1]);
  assert.ok(Object.isFrozen(rates.seen[0]));
  assert.deepEqual(
    rates.seen[0]?.map(({ key }) => key),
    ['identity', 'route:telemetry'],
  );
});

test('a flood of forbidden messages meets the rate first', () => {
  const clock = new HandClock();
  const subject = subjectOf('device', 'd1', 'device', new LocalRates(clock));
  const bound = defaults.bind('publish', subject, 'devices/d2/telemetry');
  const codes = Array.from({ length: 12 }, () => codeOf(bound.decide(good)));
  assert.deepEqual(codes, [...Array.from({ length: 11 }, () => 'forbidden'), 'rate']);
});

test('a reconnecting client is charged for each connection and each will, not for a will that is published', () => {
  const policy = compilePolicy(
    documentOf('limits: { identityRates: { device: { limit: 1/day, burst: 1 } } }'),
    1,
  );
  const subject = subjectOf('device', 'd1', 'device', new LocalRates(new HandClock()));
  const connect = policy.bind('connect', subject);
  const facts = { authentication: { ok: true } } as const;
  assert.equal(codeOf(connect.decide(facts)), 'allow');
  assert.equal(codeOf(policy.bind('will', subject, own).decide(good)), 'allow');
  assert.equal(codeOf(connect.decide(facts)), 'rate');
  assert.equal(codeOf(policy.bind('will-publish', subject, own).decide(good)), 'allow');
});

class Asked implements RateBudget {
  answer: (taken: boolean) => void = () => {};

  take(_buckets: readonly RateBucket[]): Promise<boolean> {
    return new Promise((resolve) => {
      this.answer = resolve;
    });
  }
}

test('when the rate is asked elsewhere the rows after it still decide, with the standing of then', async () => {
  const policy = compilePolicy(documentOf(withSchema, schemaFile), 1);
  const rates = new Asked();
  const bound = policy.bind('publish', subjectOf('device', 'd1', 'device', rates), own);
  const ask = async (message: typeof good, answer: boolean): Promise<string> => {
    const decision = bound.decide(message);
    assert.ok(decision instanceof Promise);
    rates.answer(answer);
    return codeOf(await decision);
  };
  assert.equal(await ask(good, true), 'allow');
  assert.equal(await ask(good, false), 'rate');
  assert.equal(await ask(bad, true), 'schema');
});

test('a check that throws or rejects refuses its client and nothing else', async () => {
  const throwing = subjectOf('device', 'd1', 'device', {
    take: () => {
      throw new Error('no ledger');
    },
  });
  const decision = await defaults.bind('publish', throwing, own).decide(good);
  assert.ok(!decision.allowed);
  assert.deepEqual([decision.code, decision.row], ['busy', 'rate']);
  const rejecting = subjectOf('device', 'd1', 'device', {
    take: () => Promise.reject(new Error('gone')),
  });
  assert.equal(codeOf(await defaults.bind('publish', rejecting, own).decide(good)), 'busy');
});

test('size and form are judged before authorisation', () => {
  const subject = subjectOf('service', 's', 'all');
  const policy = compilePolicy(
    documentOf(`
limits: { topicBytes: 20B, topicLevels: 3, payloadBytes: 8B, userProperties: 1 }
roles: { all: { allow: { publish: [ "#" ], subscribe: [ "#" ] } } }
routes: { small: { match: "s/#", payloadBytes: 2B }, large: { match: l, payloadBytes: 16B } }
`),
    1,
  );
  const publish = (topic: string, payload = '', userProperties = 0): string =>
    codeOf(
      policy.bind('publish', subject, topic).decide({ ...messageOfText(payload), userProperties }),
    );
  assert.equal(publish('a'), 'allow');
  assert.equal(publish('x'.repeat(20)), 'allow');
  assert.equal(publish('ü'.repeat(11)), 'too-large');
  assert.equal(publish('a/b/c/d'), 'too-large');
  assert.equal(publish('a/+'), 'malformed');
  assert.equal(publish('a\0'), 'malformed');
  assert.equal(publish(''), 'malformed');
  assert.equal(publish('a', 'x'.repeat(8)), 'allow');
  assert.equal(publish('a', 'x'.repeat(9)), 'too-large');
  assert.equal(publish('s/1', 'xxx'), 'too-large');
  assert.equal(publish('l', 'x'.repeat(16)), 'allow');
  assert.equal(publish('a', '', 2), 'too-large');
  const subscribe = (filter: string): string =>
    codeOf(policy.bind('subscribe', subject, filter).decide());
  assert.equal(subscribe('a/#'), 'allow');
  assert.equal(subscribe('a/#/b'), 'malformed');
  assert.equal(subscribe('a/b/c/#'), 'too-large');
  assert.equal(subscribe('x'.repeat(21)), 'too-large');
});

test('a payload is held to the schema of every route that matches', () => {
  const policy = compilePolicy(
    documentOf(
      'routes: { telemetry: { schema: t.json }, more: { match: "devices/#", schema: m.json } }',
      { ...schemaFile, 'm.json': '{"type":"object","maxProperties":1}' },
    ),
    1,
  );
  const bound = policy.bind('publish', subjectOf('device', 'd1', 'device'), own);
  assert.equal(codeOf(bound.decide(good)), 'allow');
  assert.equal(codeOf(bound.decide(bad)), 'schema');
  assert.equal(codeOf(bound.decide(messageOfText('{"temperature":1,"x":2}'))), 'schema');
  assert.equal(codeOf(bound.decide(messageOfText('['.repeat(100_000)))), 'schema');
  for (const entry of ['will', 'will-publish'] as const) {
    assert.equal(
      codeOf(policy.bind(entry, subjectOf('device', 'd1', 'device'), own).decide(bad)),
      'schema',
    );
  }
});

test('a breaker opens after refusals in a row, for its identity alone, and tries again after its time', () => {
  const clock = new HandClock();
  const breakers = new Breakers(clock);
  const document = documentOf(withSchema, schemaFile);
  const policy = compilePolicy(document, 1, { breakers });
  const d1 = policy.bind('publish', subjectOf('device', 'd1', 'device'), own);
  const d2 = policy.bind('publish', subjectOf('device', 'd2', 'device'), 'devices/d2/telemetry');
  const codes = (...messages: (typeof good)[]): string[] =>
    messages.map((m) => codeOf(d1.decide(m)));
  assert.deepEqual(codes(bad, bad, good, bad, bad), [
    'schema',
    'schema',
    'allow',
    'schema',
    'schema',
  ]);
  assert.deepEqual(codes(bad, bad, good), ['schema', 'rate', 'rate']);
  assert.equal(codeOf(d2.decide(good)), 'allow');
  // A reload does not close it.
  const reloaded = compilePolicy(document, 2, { breakers }).bind(
    'publish',
    subjectOf('device', 'd1', 'device'),
    own,
  );
  clock.time = 20_000;
  const refused = reloaded.decide(good);
  assert.ok(!(refused instanceof Promise) && !refused.allowed);
  assert.deepEqual([refused.code, refused.retryAfterMs], ['rate', 40_000]);
  clock.time = 60_000;
  assert.deepEqual(codes(bad, good), ['schema', 'rate']);
  clock.time = 120_000;
  assert.deepEqual(codes(good, bad, bad), ['allow', 'schema', 'schema']);
  // Too far apart to count as a row.
  clock.time = 140_000;
  assert.deepEqual(codes(bad, bad, good), ['schema', 'schema', 'allow']);
  assert.equal(breakers.size, 0);
});

test('breakers of endless identities take bounded memory', () => {
  const breakers = new Breakers(new HandClock());
  for (let i = 0; i < 10_500; i += 1) {
    breakers.failed('telemetry', subjectOf('device', `d${i}`, 'device').name, {
      failures: 1,
      withinMs: 1,
      openMs: 1_000,
    });
  }
  assert.equal(breakers.size, 10_000);
  assert.ok(breakers.openForMs('telemetry', subjectOf('device', 'd10499', 'device').name) > 0);
});

test('the compiled policy does not follow later changes of its source', () => {
  const source = structuredClone(documentOf('workers: 1')) as {
    roles: Record<string, unknown>;
  } & PolicyDocument;
  const policy = compilePolicy(source, 1);
  delete source.roles['device'];
  assert.equal(policy.permits('publish', subjectOf('device', 'd1', 'device'), own), true);
  assert.ok(Object.isFrozen(policy.document.roles));
});

const whole = documentOf(
  'routes: { telemetry: { breaker: { failures: 1, within: 1s, open: 1s } } }',
);
const paths = (value: unknown, at: readonly string[] = []): string[][] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([key, child]) => [
        [...at, key],
        ...paths(child, [...at, key]),
      ]);

test('a document with anything missing is refused whole', () => {
  const optional = new Set(['schema', 'payloadBytes', 'breaker', 'match']);
  const sent = JSON.parse(JSON.stringify(whole)) as PolicyDocument;
  compilePolicy(sent, 1);
  for (const path of paths(sent)) {
    const last = path.at(-1) ?? '';
    // Entries of lists and names of the operator's may be absent; every field may not.
    if (/^\d+$/u.test(last) || (path.length === 2 && path[0] === 'roles')) continue;
    if (optional.has(last) && last !== 'match') continue;
    const copy = structuredClone(sent);
    let parent: unknown = copy;
    for (const step of path.slice(0, -1)) parent = (parent as Record<string, unknown>)[step];
    delete (parent as Record<string, unknown>)[last];
    assert.throws(() => compilePolicy(copy, 1), { code: 'invalid-config' }, path.join('.'));
  }
});

test('an unsafe document is refused', () => {
  const route = whole.routes[0];
  const device = whole.roles['device'];
  assert.ok(route !== undefined && device !== undefined);
  const allowing = (filter: string): PolicyDocument => ({
    ...whole,
    roles: { device: { ...device, allow: { publish: [filter], subscribe: [], request: [] } } },
  });
  const unsafe: unknown[] = [
    null,
    [],
    { ...whole, routes: [route, route] },
    { ...whole, routes: [{ ...route, schema: { $ref: 'https://x' } }] },
    { ...whole, routes: [{ ...route, match: 'a/#/b' }] },
    { ...whole, routes: [{ ...route, rate: [{ limit: 0, perMs: 1, burst: 0 }] }] },
    { ...whole, limits: { ...whole.limits, packetBytes: '1' } },
    { ...whole, limits: { ...whole.limits, packetBytes: -1 } },
    allowing('$SYS/#'),
    allowing('a/${name}'),
    allowing('a/x${id}'),
    allowing('a#'),
  ];
  for (const document of unsafe) {
    assert.throws(() => compilePolicy(document as PolicyDocument, 1), { code: 'invalid-config' });
  }
});

test('an explanation agrees with the pipeline and names rule, routes and rates', () => {
  const policy = compilePolicy(documentOf(withSchema, schemaFile), 1);
  const d1 = { kind: 'device', id: 'd1', role: 'device' } as const;
  const answer = explain(policy, d1, 'publish', own);
  assert.equal(answer.allowed, true);
  assert.equal(answer.rule?.index, 0);
  assert.deepEqual(answer.routes, [
    {
      name: 'telemetry',
      match: 'devices/+/telemetry',
      rate: [],
      payloadBytes: 262_144,
      schema: true,
      breaker: true,
    },
  ]);
  assert.deepEqual(answer.identityRate, [{ limit: 100, perMs: 1_000, burst: 200 }]);
  const refused = explain(policy, d1, 'publish', 'devices/d2/telemetry');
  assert.deepEqual([refused.allowed, refused.rule], [false, undefined]);
  assert.match(refused.because, /denied by default/u);
  assert.equal(explain(policy, d1, 'subscribe', 'devices/d1/commands/#').allowed, true);
  assert.equal(explain(policy, d1, 'publish', 'devices/+/telemetry').allowed, false);
});
