/**
 * Payload schemas of routes: what does not fit is refused with PUBACK 0x99, or ends a 3.1.1 connection unacknowledged.
 * JSON is read strictly: what two parsers could read in two ways is no JSON here.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import { readMetrics } from '../harness/metrics.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';

const reading = {
  type: 'object',
  required: ['temperature'],
  properties: { temperature: { type: 'number', minimum: -90, maximum: 90 } },
};

const { gateway, connect } = await sharedGateway({
  config: [
    'limits: { connectsPerMinute: 100000, identityRates: { device: [] } }',
    'routes:',
    '  telemetry: { schema: reading.json, rate: [] }',
    '  all: { match: devices/+/diagnostics, schema: anything.json }',
    '  guarded:',
    '    match: devices/+/status',
    '    schema: reading.json',
    '    breaker: { failures: 3, within: 1h, open: 1h }',
  ].join('\n'),
  files: { 'reading.json': JSON.stringify(reading), 'anything.json': '{}' },
});
const d1 = await gateway.device('d1');
const be = await gateway.service('be', 'backend');
const telemetry = 'devices/d1/telemetry';

const deep = 100_000;

interface Payload {
  readonly what: string;
  readonly bytes: string | Buffer;
  /** No JSON at all, so that not even a schema that allows everything lets it pass. */
  readonly notJson: boolean;
}

const refused: readonly Payload[] = [
  { what: 'a number where an object has to be', bytes: '22.5', notJson: false },
  { what: 'an object without the required member', bytes: '{}', notJson: false },
  { what: 'a value out of range', bytes: '{"temperature":91}', notJson: false },
  { what: 'a text instead of a number', bytes: '{"temperature":"22.5"}', notJson: false },
  {
    what: 'the required member in __proto__',
    bytes: '{"__proto__":{"temperature":1}}',
    notJson: false,
  },
  { what: 'the member as constructor', bytes: '{"constructor":{"temperature":1}}', notJson: false },
  { what: 'no payload', bytes: '', notJson: true },
  { what: 'no JSON', bytes: 'temperature=22.5', notJson: true },
  { what: 'JSON cut short', bytes: '{"temperature":22', notJson: true },
  { what: 'a comment', bytes: '{"temperature":1/**/}', notJson: true },
  { what: 'NaN', bytes: '{"temperature":NaN}', notJson: true },
  { what: 'bytes after the value', bytes: '{"temperature":1}{}', notJson: true },
  { what: 'a byte order mark', bytes: '\u{feff}{"temperature":1}', notJson: true },
  { what: 'UTF-16', bytes: Buffer.from('{"temperature":1}', 'utf16le'), notJson: true },
  { what: 'invalid UTF-8', bytes: Buffer.from([0x22, 0xc3, 0x28, 0x22]), notJson: true },
  {
    what: 'an overlong form',
    bytes: Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]),
    notJson: true,
  },
  {
    what: 'a duplicate key',
    bytes: '{"temperature":1,"temperature":2}',
    notJson: true,
  },
  {
    what: 'a duplicate key, escaped',
    bytes: '{"temperature":1,"t\\u0065mperature":99}',
    notJson: true,
  },
  {
    what: 'a duplicate key inside',
    bytes: '{"temperature":1,"more":[{"a":1,"a":1}]}',
    notJson: true,
  },
  { what: '1e400', bytes: '{"temperature":1e400}', notJson: true },
  { what: '-1e400, beside a good value', bytes: '{"temperature":1,"x":-1e400}', notJson: true },
  { what: 'a lone surrogate', bytes: '{"temperature":1,"x":"\\ud800"}', notJson: true },
  { what: 'a lone surrogate as key', bytes: '{"temperature":1,"\\udfff":1}', notJson: true },
  { what: 'a NUL byte', bytes: '{"temperature":1,"x":"\0"}', notJson: true },
  {
    what: `arrays ${deep} deep`,
    bytes: `${'['.repeat(deep)}${']'.repeat(deep)}`,
    notJson: true,
  },
  {
    what: 'an object 30,000 deep beside a good value',
    bytes: `{"temperature":1,"x":${'{"x":'.repeat(30_000)}1${'}'.repeat(30_000)}}`,
    notJson: true,
  },
  { what: `${deep} brackets that never close`, bytes: '['.repeat(deep), notJson: true },
];

const accepted: readonly (readonly [what: string, bytes: string])[] = [
  ['what fits', '{"temperature":22.5}'],
  ['white space around it', ' \r\n\t{ "temperature" : -0.5e1 } '],
  ['more members than the schema names', '{"temperature":1,"humidity":40}'],
  ['names of members of every object', '{"temperature":1,"constructor":1,"toString":2}'],
  ['__proto__ as a name', '{"temperature":1,"__proto__":{"polluted":true}}'],
  ['a pair of surrogates', '{"temperature":1,"x":"\\ud83d\\ude00"}'],
];

for (const { what, bytes, notJson } of refused) {
  test(`refused: ${what}`, async () => {
    using five = await connect(d1, { clientId: 'five' });
    assert.equal(await five.publish(telemetry, bytes), 0x99);
    assert.equal(
      await five.publish('devices/d1/diagnostics', bytes),
      notJson ? 0x99 : 0x10,
      'by a schema that allows everything',
    );
    await five.ping();
    using four = await connect(d1, { clientId: 'four', version: 4 });
    const answers: Buffer[] = [];
    four.socket.on('data', (chunk: Buffer) => answers.push(chunk));
    four.send(publishPacket({ version: 4, topic: telemetry, payload: bytes, qos: 1 }));
    await within(four.ended, 10_000, 'the end of the connection');
    assert.deepEqual(answers, []);
  });
}

for (const [what, bytes] of accepted) {
  test(`accepted and delivered as it was sent: ${what}`, async () => {
    using backend = await connect(be, { clientId: 'be' });
    assert.deepEqual(await backend.subscribe(telemetry), [1]);
    for (const version of [5, 4] as const) {
      using client = await connect(d1, { clientId: 'd1', version });
      assert.equal(await client.publish(telemetry, bytes), 0);
    }
    await backend.message(() => backend.messages.length === 2);
    assert.deepEqual(
      backend.messages.map(({ payload }) => payload),
      [bytes, bytes],
    );
  });
}

test('QoS 0 against its schema reaches nobody and is counted; the connection goes on', async () => {
  using backend = await connect(be, { clientId: 'be' });
  assert.deepEqual(await backend.subscribe(telemetry), [1]);
  using client = await connect(d1, { clientId: 'd1' });
  const count = async (): Promise<number> =>
    (await readMetrics(gateway)).sum('sallyport_refused_total', { code: 'schema' });
  const before = await count();
  for (let n = 0; n < 100; n += 1) client.publishUnacknowledged(telemetry, '{"temperature":1000}');
  assert.equal(await client.publish(telemetry, '{"temperature":1}'), 0);
  await backend.message(() => true);
  assert.deepEqual(
    backend.messages.map(({ payload }) => payload),
    ['{"temperature":1}'],
  );
  await until('a hundred more are counted', 10_000, async () => (await count()) - before >= 100);
});

test('a retained message against its schema is not kept', async () => {
  using client = await connect(d1, { clientId: 'd1' });
  const topic = 'devices/d1/status';
  assert.equal(await client.publish(topic, '{"temperature":"x"}', { retain: true }), 0x99);
  using backend = await connect(be, { clientId: 'be' });
  assert.equal(await client.publish(topic, '{"temperature":7}', { retain: true }), 0x10);
  assert.deepEqual(await backend.subscribe(topic), [1]);
  const message = await backend.message(() => true);
  assert.equal(message.payload, '{"temperature":7}');
});

test('a device whose payloads keep failing is refused unread for a while, and no other device is', async () => {
  const [failing, other] = await gateway.devices('failing', 'other');
  assert.ok(failing !== undefined && other !== undefined);
  using client = await connect(failing, { clientId: 'c' });
  const codes: number[] = [];
  for (let n = 0; n < 4; n += 1) codes.push(await client.publish('devices/failing/status', '{}'));
  assert.deepEqual(codes, [0x99, 0x99, 0x99, 0x97]);
  assert.equal(await client.publish('devices/failing/status', '{"temperature":1}'), 0x97);
  using good = await connect(other, { clientId: 'c' });
  assert.equal(await good.publish('devices/other/status', '{"temperature":1}'), 0x10);
});
