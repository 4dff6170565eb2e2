import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEvents } from './backend-event.ts';
import type { ParsedRequest } from './backend-event.ts';

const binary = {
  'content-type': 'application/json',
  'ce-specversion': '1.0',
  'ce-id': '01-a',
  'ce-source': 'spiffe://fleet.example/device/d1',
  'ce-type': 'com.sallyport.message.v1',
  'ce-subject': 'devices/d1/t%20%C3%A4%25',
  'ce-time': '2026-11-21T07:00:00.123Z',
};
const json = {
  specversion: '1.0',
  id: '01-a',
  source: 'spiffe://fleet.example/device/d1',
  type: 'com.sallyport.message.v1',
  subject: 'devices/d1/telemetry',
  time: '2026-11-21T07:00:00.123Z',
  datacontenttype: 'application/json',
  data: { seq: 7 },
};

function parse(headers: Record<string, string | string[]>, body: string | Buffer): ParsedRequest {
  const distinct = Object.entries(headers).map(([name, value]) => [name, [value].flat()]);
  return parseEvents({
    method: 'POST',
    headers: Object.fromEntries(distinct) as Record<string, string[]>, // built one line above
    body: Buffer.from(body),
  });
}

function parseBatch(events: unknown, headers: Record<string, string> = {}): ParsedRequest {
  return parse(
    { 'content-type': 'application/cloudevents-batch+json; charset=utf-8', ...headers },
    JSON.stringify(events),
  );
}

test('an event in binary mode', () => {
  const { mode, events } = parse(binary, '{"seq":7}');
  assert.equal(mode, 'binary');
  assert.deepEqual(events, [
    {
      id: '01-a',
      source: 'spiffe://fleet.example/device/d1',
      type: 'com.sallyport.message.v1',
      subject: 'devices/d1/t ä%',
      time: '2026-11-21T07:00:00.123Z',
      contentType: 'application/json',
      kind: 'device',
      device: 'd1',
      seq: 7,
      sending: undefined,
      bytes: 9,
      sha256: '256471776c47545b389142384a1640e500a2cb8cf7d4e03f860fe1c219398a1e',
      text: '{"seq":7}',
    },
  ]);
  const octets = parse({ ...binary, 'content-type': 'application/octet-stream' }, Buffer.of(0xff));
  assert.deepEqual([octets.events[0]?.seq, octets.events[0]?.text], [undefined, undefined]);
});

test('a batch, with JSON, text and bytes', () => {
  const { data: _, ...bare } = json;
  const { mode, events } = parseBatch([
    json,
    { ...bare, id: '02-a', datacontenttype: 'text/plain', data: 'warm' },
    { ...bare, id: '03-a', datacontenttype: 'application/octet-stream', data_base64: '/w==' },
  ]);
  assert.equal(mode, 'batch');
  assert.deepEqual(
    events.map(({ id, seq, bytes, text }) => [id, seq, bytes, text]),
    [
      ['01-a', 7, 9, '{"seq":7}'],
      ['02-a', undefined, 4, 'warm'],
      ['03-a', undefined, 1, undefined],
    ],
  );
});

test('what is no event in binary mode is refused', () => {
  for (const name of Object.keys(binary)) {
    const { [name as keyof typeof binary]: _, ...rest } = binary;
    assert.throws(() => parse(rest, '{}'), Error, `without ${name}`);
  }
  const refused: Record<string, string | string[]>[] = [
    { 'ce-specversion': '0.3' },
    { 'ce-id': '' },
    { 'ce-id': ['a', 'a'] },
    { 'ce-source': 'spiffe://fleet.example/device/a/b' },
    { 'ce-source': 'd1' },
    { 'ce-type': 'telemetry' },
    { 'ce-subject': 'devices/d1/t ä' },
    { 'ce-subject': 'devices/d1/%ff' },
    { 'ce-subject': 'devices/d1/%' },
    { 'ce-time': '2026-11-21 07:00:00Z' },
    { 'ce-time': '2026-13-21T07:00:00Z' },
    { 'ce-datacontenttype': 'application/json' },
    { 'ce-Under_score': 'x' },
    { 'content-type': 'application/cloudevents+json' },
    { 'content-type': 'application/cloudevents-batch+json' },
    { 'content-type': 'json' },
  ];
  for (const change of refused) {
    assert.throws(() => parse({ ...binary, ...change }, '{}'), Error, JSON.stringify(change));
  }
});

test('what is no batch is refused', () => {
  const refused: unknown[] = [
    [],
    {},
    [1],
    [json, json],
    [{ ...json, data_base64: 'e30=' }],
    [{ ...json, data: undefined }],
    [{ ...json, data: undefined, data_base64: 'e30' }],
    [{ ...json, datacontenttype: 'text/plain' }],
    [{ ...json, datacontenttype: undefined }],
    [{ ...json, subject: 7 }],
    [{ ...json, Extension: 'x' }],
    [{ ...json, extension: {} }],
    [{ ...json, specversion: 1 }],
  ];
  for (const events of refused) {
    assert.throws(() => parseBatch(events), Error, JSON.stringify(events));
  }
  assert.throws(() => parseBatch([json], { 'ce-id': '01-a' }));
});
