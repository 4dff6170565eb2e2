import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RequestText } from '../../../common/codec/http/request-parser.ts';
import { requestOf } from '../http/test-support.ts';
import { asksForWebSocket, readHandshake } from './websocket-handshake.ts';

type Headers = Readonly<Record<string, string | undefined>>;

const pages = {
  hosts: ['gateway.example', '127.0.0.1', '::1', '*.site.example'],
  origins: ['https://console.example:8080'],
};

const inOrder: Headers = {
  Host: 'gateway.example',
  Upgrade: 'websocket',
  Connection: 'Upgrade',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Protocol': 'mqtt',
};

function requestWith(changed: Headers = {}, line = 'GET /mqtt'): RequestText {
  const headers = Object.entries({ ...inOrder, ...changed });
  const lines = headers.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}`],
  );
  return requestOf([`${line} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
}

function answerTo(changed: Headers): string {
  const handshake = readHandshake(requestWith(changed), 64, pages);
  return 'answer' in handshake
    ? handshake.answer.toString()
    : `${handshake.problem.status} ${handshake.problem.code}`;
}

test('the example of RFC 6455 §1.3 is answered as it says, with the subprotocol', () => {
  assert.equal(
    answerTo({}),
    [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
      'Sec-WebSocket-Protocol: mqtt',
      '',
      '',
    ].join('\r\n'),
  );
});

describe('a handshake that is not in order', () => {
  const rows: readonly (readonly [what: string, Headers, answer: string])[] = [
    ['no Host', { Host: undefined }, '400 malformed'],
    ['no key', { 'Sec-WebSocket-Key': undefined }, '400 malformed'],
    ['a key of 15 bytes', { 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25j' }, '400 malformed'],
    ['a key of 17 bytes', { 'Sec-WebSocket-Key': `${'A'.repeat(23)}=` }, '400 malformed'],
    ['bits left over', { 'Sec-WebSocket-Key': `${'A'.repeat(21)}B==` }, '400 malformed'],
    ['two keys', { 'Sec-WebSocket-Key': `${'A'.repeat(22)}==, x` }, '400 malformed'],
    ['no version', { 'Sec-WebSocket-Version': undefined }, '426 malformed'],
    ['version 8', { 'Sec-WebSocket-Version': '8' }, '426 malformed'],
    ['versions 13 and 8', { 'Sec-WebSocket-Version': '13, 8' }, '426 malformed'],
    ['no subprotocol', { 'Sec-WebSocket-Protocol': undefined }, '400 malformed'],
    ['another subprotocol', { 'Sec-WebSocket-Protocol': 'mqttv3.1' }, '400 malformed'],
    ['a subprotocol in capitals', { 'Sec-WebSocket-Protocol': 'MQTT' }, '400 malformed'],
    ['an expectation', { Expect: '100-continue' }, '417 malformed'],
  ];
  for (const [what, changed, answer] of rows) {
    test(`${answer}: ${what}`, () => assert.equal(answerTo(changed), answer));
  }
});

test('lists, capitals and extensions', () => {
  for (const changed of [
    { Connection: 'keep-alive, upgrade' },
    { Upgrade: 'WebSocket' },
    { 'Sec-WebSocket-Protocol': 'mqttv3.1,mqtt' },
    { 'Sec-WebSocket-Protocol': 'mqttv3.1, mqtt, wamp' },
  ]) {
    assert.match(answerTo(changed), /^HTTP\/1\.1 101 /);
  }
  const offered = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' };
  assert.doesNotMatch(answerTo(offered), /extensions/i);
});

describe('the page that asks', () => {
  const allowed = [
    'https://gateway.example',
    'https://gateway.example:8443',
    'https://GATEWAY.example',
    'https://127.0.0.1:8443',
    'https://[::1]:8443',
    'https://a.site.example',
    'https://console.example:8080',
  ];
  const refused = [
    'http://gateway.example',
    'https://gateway.example.evil.example',
    'https://evil.example',
    'https://evilgateway.example',
    'https://user@gateway.example',
    'https://gateway.example/',
    'https://gateway.example/, https://evil.example',
    'https://gateway.example, https://evil.example',
    'https://a.b.site.example',
    'https://site.example',
    'https://*.site.example',
    'https://console.example',
    'https://console.example:80800',
    'wss://gateway.example',
    'null',
    '',
  ];
  for (const origin of allowed) {
    test(`${origin} may`, () => assert.match(answerTo({ Origin: origin }), /^HTTP\/1\.1 101 /));
  }
  for (const origin of refused) {
    test(`"${origin}" may not`, () => assert.equal(answerTo({ Origin: origin }), '403 forbidden'));
  }
});

test('what is no request for WebSocket on the path is left to HTTP', () => {
  assert.equal(asksForWebSocket(requestWith()), true);
  for (const [changed, line] of [
    [{ Upgrade: undefined }, undefined],
    [{ Connection: undefined }, undefined],
    [{ Upgrade: 'h2c' }, undefined],
    [{ 'Content-Length': '0' }, undefined],
    [{ 'Content-Length': '5' }, undefined],
    [{ 'Transfer-Encoding': 'chunked' }, undefined],
    [{}, 'POST /mqtt'],
    [{}, 'GET /mqtt?x=1'],
    [{}, 'GET /mqtt/'],
    [{}, 'GET /api/v1/telemetry'],
  ] as const) {
    assert.equal(asksForWebSocket(requestWith(changed, line)), false);
  }
});
