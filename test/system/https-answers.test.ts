/**
 * What answers give away: to anybody who can get one, with or without an identity, nothing but a code. No product, no
 * version, no stack, no path, nothing of the request.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as tcpConnect } from 'node:net';
import { test } from 'node:test';
import type { Identity } from '../harness/gateway.ts';
import { jsonOf } from '../harness/https-answer.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText, telemetryText } from '../harness/https-text.ts';
import { issueLeaf, makeAuthority } from '../harness/openssl.ts';
import { nextSource } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const { gateway } = await sharedGateway({
  files: { 'object.json': '{"type":"object","properties":{"secretName":{"type":"number"}}}' },
  config: [
    'routes:',
    '  telemetry: { schema: object.json, payloadBytes: 1KiB }',
    '  diagnostics: { match: devices/+/diagnostics, rate: { limit: 1/day, burst: 0 } }',
    'roles: { device: { deny: { publish: [ "devices/${id}/status" ] } } }',
    'limits: { connect: 1s, requestHeaders: 1s, request: 1s }',
  ].join('\n'),
});
const port = gateway.httpsPort;
const [d1, suspended, quarantined] = await gateway.devices('d1', 'suspended', 'quarantined');
assert.ok(d1 !== undefined && suspended !== undefined && quarantined !== undefined);
const service = await gateway.service('be', 'backend');
await gateway.ok('device', 'suspend', 'suspended');
await gateway.ok('device', 'quarantine', 'quarantined');
const foreign = issueLeaf(
  makeAuthority(gateway.at('foreign'), 'F'),
  gateway.at('foreign'),
  'f',
  d1.ca,
  {
    subject: '/CN=d1',
  },
);

const peers: Readonly<Record<string, Identity | undefined>> = {
  'a device': d1,
  'a suspended device': suspended,
  'a quarantined device': quarantined,
  'a service': service,
  'a foreign certificate': foreign,
  'no certificate': undefined,
};

/** Nothing of it may come back. */
const marker = 'mArKeR';
const requests: Readonly<Record<string, string>> = {
  garbage: `${marker}\r\n\r\n`,
  'a bad header': requestText('GET', '/', undefined, `${marker} : x`),
  'HTTP/1.0': `GET /${marker} HTTP/1.0\r\n\r\n`,
  'no Host': `GET /${marker} HTTP/1.1\r\n\r\n`,
  'absolute-form': `GET https://${marker}/ HTTP/1.1\r\nHost: localhost\r\n\r\n`,
  'not found': requestText('GET', `/${marker}`),
  'a prototype': requestText('GET', '/__proto__'),
  'a wrong method': requestText('TRACE', '/api/v1/telemetry', undefined, `X: ${marker}`),
  HEAD: requestText('HEAD', '/api/v1/telemetry'),
  'a bad query': requestText('GET', `/api/v1/commands?wait=${marker}`),
  'a bad Last-Event-ID': requestText(
    'GET',
    '/api/v1/commands',
    undefined,
    'Accept: text/event-stream',
    `Last-Event-ID: ${marker}!`,
  ),
  'a command that is not there': requestText('DELETE', `/api/v1/commands/${marker}`),
  'a bad payload': telemetryText(`{"secretName":"${marker}"}`),
  'no JSON': telemetryText(`{${marker}`),
  'a payload over the limit': telemetryText(marker.repeat(1_000)),
  'a length over the limit': telemetryText('').replace('Length: 0', 'Length: 999999999'),
  'an encoded payload': telemetryText(marker, 'Content-Encoding: gzip'),
  'an expectation': telemetryText(marker, `Expect: ${marker}`),
  'headers over the limit': requestText('GET', '/', undefined, `X: ${marker.repeat(2_000)}`),
  'a forbidden topic': requestText('POST', '/api/v1/status', marker),
  'too fast': requestText('POST', '/api/v1/diagnostics', marker).repeat(2),
  'an Upgrade': requestText('GET', '/', undefined, 'Connection: Upgrade', 'Upgrade: websocket'),
  'half a head': `GET /${marker}`,
  'half a body': telemetryText(marker).slice(0, -1),
};

const headersOfAnswers = new Set([
  'allow',
  'cache-control',
  'connection',
  'content-length',
  'content-type',
  'date',
  'keep-alive',
  'ratelimit',
  'ratelimit-policy',
  'retry-after',
  'x-content-type-options',
]);
/** Names of what it is made of, numbers of versions, and what a stack or a path looks like. */
const telltale =
  /sallyport|node|openssl|undici|llhttp|hpe_|v8|javascript|typescript|lmdb|linux|debian|v?\d+\.\d+\.\d+|error:|exception|stack|\bat \S+:\d|\.[jt]s\b|\/(?:src|home|root|tmp|work)\b/i;

for (const [who, identity] of Object.entries(peers)) {
  test(`to ${who}`, async () => {
    for (const [what, text] of Object.entries(requests)) {
      using raw = await RawHttps.open({ port, identity, ca: d1.ca });
      // A last request that ends the connection after whatever comes before it.
      raw.send(text);
      if (!what.startsWith('half'))
        raw.send(requestText('GET', '/x', undefined, 'Connection: close'));
      const bytes = await raw.untilClose();
      const said = bytes.toString('latin1');
      const named = `${what}: ${said}`;
      assert.match(said, /^HTTP\/1\.1 \d{3} /, named);
      assert.ok(!said.includes(marker), named);
      const without = said.replaceAll(/^HTTP\/1\.1 |^Date: .*$/gm, '');
      assert.doesNotMatch(without, telltale, what);
      const header = /^([\w-]+):/gm;
      for (const [, name = ''] of said.matchAll(header)) {
        assert.ok(headersOfAnswers.has(name.toLowerCase()), named);
      }
      for (const [body] of said.matchAll(/^\{.*?\}/gm)) {
        const problem = jsonOf({ status: 0, headers: new Map(), body: Buffer.from(body) });
        assert.ok(typeof problem === 'object' && problem !== null);
        assert.deepEqual(Object.keys(problem), ['type', 'title', 'status', 'code'], named);
      }
    }
  });
}

test('plain HTTP gets a TLS alert at most, and no word', async () => {
  const socket = tcpConnect({ host: '127.0.0.1', port, localAddress: nextSource() });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => {});
  const closed = once(socket, 'close');
  socket.write(requestText('GET', '/'));
  await within(closed, 10_000, 'the end of the connection');
  // RFC 8446 §6: content type 21, and two bytes of content.
  const said = Buffer.concat(chunks);
  assert.ok(said.length === 0 || (said[0] === 21 && said.length === 7), said.toString('hex'));
});
