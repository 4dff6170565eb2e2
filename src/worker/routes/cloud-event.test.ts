import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { parseStrictJson } from '../../common/base/strict-json.ts';
import { eventBatch, singleEvent } from './cloud-event.ts';
import { telemetry } from './test-support.ts';

const id = '0123456789abcdef01234567';
const acceptedAt = Date.UTC(2026, 10, 21, 7, 8, 9, 10);

function single(payload: string | Buffer, contentType?: string) {
  const properties = contentType === undefined ? {} : { contentType };
  return singleEvent({ id, acceptedAt, message: telemetry('d1', payload, properties) }, 'fleet.x');
}

function batched(payload: string | Buffer, contentType?: string): Record<string, unknown> {
  const properties = contentType === undefined ? {} : { contentType };
  const message = telemetry('d1', payload, properties);
  const { headers, body } = eventBatch([{ id, acceptedAt, message }], 'fleet.x');
  assert.match(headers['content-type'] ?? '', /^application\/cloudevents-batch\+json/);
  assert.ok(parseStrictJson(body).ok, body.toString());
  // The line before has found it to be JSON; what is in it is the test's to say.
  const [event] = JSON.parse(body.toString()) as Record<string, unknown>[];
  assert.ok(event !== undefined);
  return event;
}

test('binary mode carries the required attributes as headers and the payload as it is', () => {
  const { headers, body } = single(' {"t": 22.70} ');
  assert.deepEqual(headers, {
    'ce-specversion': '1.0',
    'ce-id': id,
    'ce-source': 'spiffe://fleet.x/device/d1',
    'ce-type': 'com.sallyport.message.v1',
    'ce-subject': 'devices/d1/telemetry',
    'ce-time': '2026-11-21T07:08:09.010Z',
    'content-type': 'application/json',
  });
  assert.equal(body.toString(), ' {"t": 22.70} ');
});

test('header values are percent-encoded as the binding says (§3.1.3.2)', () => {
  const message = { ...telemetry('d1', 'x'), topic: 'a b/"50%"/Zürich/€/\u{1f600}/\u007f/~!' };
  const { headers } = singleEvent({ id, acceptedAt, message }, 'fleet.x');
  assert.equal(
    headers['ce-subject'],
    'a%20b/%2250%25%22/Z%C3%BCrich/%E2%82%AC/%F0%9F%98%80/%7F/~!',
  );
});

test('no topic can end its header, whatever is in it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (topic) => {
      const message = { ...telemetry('d1', 'x'), topic };
      const { headers } = singleEvent({ id, acceptedAt, message }, 'fleet.x');
      const value = headers['ce-subject'] ?? '';
      assert.match(value, /^[\x21-\x7e]*$/);
      assert.equal(decodeURIComponent(value), topic.toWellFormed());
    }),
  );
});

test('the content type is the declared one, else what the payload is', () => {
  const type = (payload: string | Buffer, contentType?: string) =>
    single(payload, contentType).headers['content-type'];
  assert.equal(type('{}'), 'application/json');
  assert.equal(type('22.5'), 'application/json');
  assert.equal(type('t=22'), 'application/octet-stream');
  assert.equal(type(''), 'application/octet-stream');
  assert.equal(type(Buffer.of(0xff, 0xfe)), 'application/octet-stream');
  assert.equal(type('{}', 'text/plain; charset="utf-8"'), 'text/plain; charset="utf-8"');
  assert.equal(type('x', 'application/vnd.api+json'), 'application/vnd.api+json');
});

test('JSON is said to be in no charset but its own; what is no JSON keeps its word', () => {
  for (const type of [
    'application/json; charset=utf-7',
    'application/json;charset="utf-16"',
    'application/json; charset=utf-8; charset=utf-7',
    'text/plain; CHARSET=ISO-2022-JP',
  ]) {
    assert.equal(single('{"t":"+ACI-"}', type).headers['content-type'], 'application/json', type);
    assert.equal(batched('{"t":"+ACI-"}', type)['datacontenttype'], 'application/json', type);
  }
  for (const [payload, type] of [
    ['{"t":1}', 'application/json; charset=utf-8'],
    ['{"t":1}', 'application/senml+json;charset="UTF-8"'],
    [Buffer.from([0x67, 0xfc, 0x6e]), 'text/plain; charset=iso-8859-1'],
  ] as const) {
    assert.equal(single(payload, type).headers['content-type'], type);
  }
});

test('a device cannot make its payload an event of its own, nor add a header', () => {
  for (const contentType of [
    'application/cloudevents+json',
    'Application/CloudEvents+json; charset=utf-8',
    'application/cloudevents-batch+json',
    'application/cloudevents',
    'text/plain;,application/cloudevents+json',
    'text/plain, application/json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/plain\r\nce-source: spiffe://fleet.x/device/other',
    'text/plain; x=\u0100',
    'text',
    '',
    ' text/plain',
    `text/plain; x=${'y'.repeat(300)}`,
  ]) {
    const payload = '{"specversion":"1.0","source":"spiffe://fleet.x/device/other"}';
    assert.equal(single(payload, contentType).headers['content-type'], 'application/json');
    assert.equal(batched(payload, contentType)['datacontenttype'], 'application/json');
  }
});

test('a JSON payload is the data of a batched event, any other is data_base64', () => {
  const common = {
    specversion: '1.0',
    id,
    source: 'spiffe://fleet.x/device/d1',
    type: 'com.sallyport.message.v1',
    subject: 'devices/d1/telemetry',
    time: '2026-11-21T07:08:09.010Z',
  };
  const json = { ...common, datacontenttype: 'application/json' };
  assert.deepEqual(batched('{"t":22.7}'), { ...json, data: { t: 22.7 } });
  assert.deepEqual(batched('null'), { ...json, data: null });
  assert.deepEqual(batched('[1]', 'application/x+json'), {
    ...common,
    datacontenttype: 'application/x+json',
    data: [1],
  });
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const bytes = { ...common, datacontenttype: 'application/octet-stream' };
  assert.deepEqual(batched('t=22'), { ...bytes, data_base64: base64('t=22') });
  assert.deepEqual(batched(''), { ...bytes, data_base64: '' });
  // Declared to be something else, or to be JSON and not it.
  assert.deepEqual(batched('{}', 'text/plain'), {
    ...common,
    datacontenttype: 'text/plain',
    data_base64: base64('{}'),
  });
  assert.deepEqual(batched('{', 'application/json'), { ...json, data_base64: base64('{') });
});

test('what two readers take differently is never put into a batch as text', () => {
  for (const payload of [
    '{"a":1,"a":2}',
    '{} ,{"id":"forged"}',
    '1},{"specversion":"1.0"',
    '"\\ud800"',
    '1e400',
    '\ufeff{}',
    `${'['.repeat(1_000)}${']'.repeat(1_000)}`,
  ]) {
    const event = batched(payload);
    assert.equal(event['data'], undefined, payload);
    assert.equal(Buffer.from(String(event['data_base64']), 'base64').toString(), payload);
  }
});

test('numbers keep the digits that the device wrote', () => {
  const message = telemetry('d1', '{"n":12345678901234567890.10}');
  const { body } = eventBatch([{ id, acceptedAt, message }], 'fleet.x');
  assert.ok(body.toString().includes('"data":{"n":12345678901234567890.10}}'));
});

test('a batch of anything is an array of as many events, each with its payload', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), { minLength: 1, maxLength: 5 }),
      (payloads) => {
        const batch = payloads.map((payload) => ({
          id,
          acceptedAt,
          message: telemetry('d1', payload),
        }));
        const { body } = eventBatch(batch, 'fleet.x');
        const events = JSON.parse(body.toString()) as Record<string, unknown>[];
        assert.equal(events.length, payloads.length);
        for (const [i, event] of events.entries()) {
          const payload = Buffer.from(payloads[i] ?? '');
          if ('data' in event) assert.deepEqual(event['data'], JSON.parse(payload.toString()));
          else assert.deepEqual(Buffer.from(String(event['data_base64']), 'base64'), payload);
        }
      },
    ),
  );
});
