/**
 * Payloads under a schema, JSON and CBOR, over HTTPS and MQTT: what no reader may be trusted with is refused before anything
 * is built from it, on either way with the same word, and the gateway lives.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { encode } from 'cbor2';
import { problemCode, textOf } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const reading = {
  type: 'object',
  required: ['temperature'],
  properties: {
    temperature: { type: 'number', minimum: -90, maximum: 90 },
    unit: { enum: ['C', 'F'] },
  },
};

const { gateway, connect } = await sharedGateway({
  config: [
    'limits: { connectsPerMinute: 100000, identityRates: { device: [] } }',
    'routes:',
    '  telemetry: { schema: reading.json, rate: [] }',
    '  anything: { match: devices/+/diagnostics, schema: anything.json }',
  ].join('\n'),
  files: { 'reading.json': JSON.stringify(reading), 'anything.json': 'true' },
});
const d1 = await gateway.device('d1');
const be = await gateway.service('be', 'backend');

const json = 'application/json';
const cbor = 'application/cbor';
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const cborOf = (value: unknown): Buffer => Buffer.from(encode(value));
/** `{"temperature": 1, "x": …}` with the bytes given in place of the dots. */
const beside = (item: string): Buffer => hex(`a2 6b 74656d7065726174757265 01 61 78 ${item}`);
const deep = 100_000;

type Payload = readonly [what: string, type: string | undefined, bytes: string | Buffer];

/** No schema can make these good. */
const unreadable: readonly Payload[] = [
  ['JSON 100,000 deep', json, `${'['.repeat(deep)}${']'.repeat(deep)}`],
  ['JSON that opens 100,000 arrays', undefined, '['.repeat(deep)],
  ['JSON with a duplicate key', json, '{"temperature":1,"temperature":2}'],
  ['JSON with an escaped duplicate key', json, '{"temperature":1,"t\\u0065mperature":99}'],
  ['JSON with __proto__ twice', json, '{"temperature":1,"__proto__":1,"__proto__":2}'],
  ['JSON with 1e400', json, '{"temperature":1e400}'],
  ['JSON with a lone surrogate', json, '{"temperature":1,"x":"\\ud800"}'],
  ['JSON with a lone surrogate as key', json, '{"temperature":1,"\\udfff":1}'],
  ['CBOR that says it is JSON', json, cborOf({ temperature: 1 })],
  ['CBOR that does not say what it is', undefined, cborOf({ temperature: 1 })],
  ['a sequence of CBOR', 'application/cbor-seq', cborOf({ temperature: 1 })],
  ['JSON that says it is CBOR', cbor, '{"temperature":1}'],
  ['nothing, as CBOR', cbor, ''],
  ['CBOR 100,000 deep', cbor, hex(`${'81'.repeat(deep)}00`)],
  ['CBOR that opens 100,000 arrays of indefinite length', cbor, hex('9f'.repeat(deep))],
  ['CBOR that opens 100,000 maps', cbor, hex('a16161'.repeat(deep / 3))],
  [
    'CBOR with a duplicate key',
    cbor,
    hex('a2 6b 74656d7065726174757265 01 6b 74656d7065726174757265 02'),
  ],
  ['CBOR with __proto__ twice', cbor, hex('a2 69 5f5f70726f746f5f5f 01 69 5f5f70726f746f5f5f 02')],
  ['CBOR with a key that is a number', cbor, hex('a1 01 01')],
  ['CBOR with infinity', cbor, beside('f97c00')],
  ['CBOR with NaN', cbor, beside('fb7ff8000000000000')],
  ['CBOR with a bignum beyond a double', cbor, beside(`c2 5901ff ${'ff'.repeat(511)}`)],
  ['CBOR with an integer beyond 2^53', cbor, beside('1bffffffffffffffff')],
  ['CBOR with undefined', cbor, beside('f7')],
  ['CBOR with half a surrogate pair', cbor, beside('63eda080')],
  [
    'CBOR with a key that begins with a byte order mark',
    cbor,
    hex('a1 6e efbbbf74656d7065726174757265 01'),
  ],
  ['CBOR with a byte string', cbor, beside('43010203')],
  ['CBOR with an array that claims 2^32 items', cbor, beside('9affffffff')],
  ['CBOR with a map that claims 2^64 pairs', cbor, beside('bbffffffffffffffff')],
  ['CBOR with a text that claims 2^32 bytes', cbor, beside('7affffffff')],
  ['CBOR with a text in endless pieces', cbor, beside(`7f ${'60'.repeat(100_000)}`)],
  ['CBOR with an array in pieces', cbor, beside('9f01ff')],
  ['CBOR with a date', cbor, beside('c074323031332d30332d32315432303a30343a30305a')],
  ['CBOR that shares values', cbor, hex('82 d81c 81 d81d 00 d81d 00')],
  ['CBOR with more after it', cbor, Buffer.concat([cborOf({ temperature: 1 }), hex('00')])],
  ['compressed JSON', json, gzipSync('{"temperature":1}')],
  ['compressed CBOR', cbor, gzipSync(cborOf({ temperature: 1 }))],
];

/** Readable, and against this schema. */
const unfit: readonly Payload[] = [
  ['JSON with the required member in __proto__', json, '{"__proto__":{"temperature":1}}'],
  ['JSON out of range', undefined, '{"temperature":91}'],
  [
    'CBOR with the required member in __proto__',
    cbor,
    hex('a1 69 5f5f70726f746f5f5f a1 6b 74656d7065726174757265 01'),
  ],
  ['CBOR out of range', cbor, cborOf({ temperature: 90.5 })],
  ['CBOR with a text for a number', 'application/senml+cbor', cborOf({ temperature: '1' })],
  ['CBOR with another unit', cbor, cborOf({ temperature: 1, unit: 'K' })],
  ['CBOR that is an array', cbor, cborOf([1])],
];

const good: readonly Payload[] = [
  ['JSON', json, '{"temperature":1,"__proto__":{"x":1},"constructor":2}'],
  ['JSON that does not say so', undefined, '{"temperature":1}'],
  ['CBOR', cbor, cborOf({ temperature: -0.5, unit: 'C', list: [1, null, true, 'ü'] })],
  ['CBOR of another type', 'application/vnd.acme+cbor; v=2', cborOf({ temperature: 22 })],
  [
    'CBOR with __proto__ as a name',
    'Application/CBOR',
    hex('a2 6b 74656d7065726174757265 01 69 5f5f70726f746f5f5f a0'),
  ],
];

const headersOf = (type: string | undefined): Record<string, string> =>
  type === undefined ? {} : { 'content-type': type };

async function overMqtt(topic: string, [, type, bytes]: Payload): Promise<number> {
  using client = await connect(d1, { clientId: 'five' });
  const properties = type === undefined ? [] : ([['contentType', type]] as const);
  const code = await client.publish(topic, bytes, { properties });
  await client.ping();
  return code;
}

for (const [payloads, againstAnything] of [
  [unreadable, true],
  [unfit, false],
] as const) {
  for (const payload of payloads) {
    const [what, type, bytes] = payload;
    test(`refused on both ways: ${what}`, async () => {
      using https = HttpsDevice.of(gateway, d1);
      const answer = await https.post('telemetry', bytes, headersOf(type));
      assert.deepEqual([answer.status, problemCode(answer)], [422, 'schema']);
      assert.doesNotMatch(textOf(answer), /temperature|rule|byte|key/);
      assert.equal(await overMqtt('devices/d1/telemetry', payload), 0x99);
      const anything = await https.post('diagnostics', bytes, headersOf(type));
      assert.equal(anything.status, againstAnything ? 422 : 202);
      const code = await overMqtt('devices/d1/diagnostics', payload);
      assert.equal(code === 0x99, againstAnything);
      assert.equal((await https.post('telemetry', '{"temperature":1}')).status, 202);
    });
  }
}

for (const payload of good) {
  const [what, type, bytes] = payload;
  test(`accepted on both ways and passed on as it was sent: ${what}`, async () => {
    using backend = await connect(be, { clientId: 'be' });
    assert.deepEqual(await backend.subscribe('devices/d1/telemetry'), [1]);
    using https = HttpsDevice.of(gateway, d1);
    assert.equal((await https.post('telemetry', bytes, headersOf(type))).status, 202);
    assert.equal(await overMqtt('devices/d1/telemetry', payload), 0);
    await backend.message(() => backend.messages.length === 2);
    assert.deepEqual(
      backend.messages.map((message) => message.payload),
      [Buffer.from(bytes).toString(), Buffer.from(bytes).toString()],
    );
  });
}

test('MQTT 3.1.1 has no content type: its payloads are JSON', async () => {
  using client = await connect(d1, { clientId: 'four', version: 4 });
  assert.equal(await client.publish('devices/d1/telemetry', '{"temperature":1}'), 0);
  const payload = cborOf({ temperature: 1 });
  client.send(publishPacket({ version: 4, topic: 'devices/d1/telemetry', payload, qos: 1 }));
  await within(client.ended, 10_000, 'the end of the connection');
});

test('a will in CBOR is judged when it is set', async () => {
  const willOf = (temperature: number) => ({
    topic: 'devices/d1/telemetry',
    payload: cborOf({ temperature }),
    qos: 1 as const,
    properties: [['contentType', cbor]] as const,
  });
  using good5 = await connect(d1, { clientId: 'will', will: willOf(5) });
  await good5.ping();
  await assert.rejects(connect(d1, { clientId: 'will2', will: willOf(500) }), /CONNACK 0x99/);
});

test('nothing is decompressed: 415, and the body is not looked at', async () => {
  for (const coding of ['gzip', 'deflate', 'br', 'zstd', 'x-gzip', 'gzip, identity', 'GZIP']) {
    using https = HttpsDevice.of(gateway, d1);
    const answer = await https.post('telemetry', gzipSync('{"temperature":1}'), {
      'content-type': json,
      'content-encoding': coding,
    });
    assert.equal(answer.status, 415, coding);
  }
});

test('the log names the field and the rule, and neither it nor the device is told the value', async () => {
  const device = await gateway.device('logged');
  using https = HttpsDevice.of(gateway, device);
  for (const [type, bytes] of [
    [json, '{"temperature":1,"unit":"s3cret"}'],
    [cbor, cborOf({ temperature: 1, unit: 's3cret' })],
  ] as const) {
    const since = gateway.log.end;
    const answer = await https.post('telemetry', bytes, headersOf(type));
    assert.equal(
      textOf(answer),
      '{"type":"about:blank","title":"Unprocessable Entity","status":422,"code":"schema"}',
    );
    const line = await gateway.log.logged((entry) => entry.get('code') === 'schema', since);
    assert.match(
      String(line.get('detail')),
      /"telemetry": \/unit .*\(rule #\/properties\/unit\/enum\)$/,
    );
  }
  assert.doesNotMatch(gateway.log.text, /s3cret/);
});
