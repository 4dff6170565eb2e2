/**
 * Requests to the HTTPS listener without client certificates that are not what was signed, not whose they say they are, or
 * that could be read in two ways: all refused, and the backend sees none of them.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { requestWith } from '../harness/https-text.ts';
import { bodyHmac, iotHeaders, messageSignature, newNonce } from '../harness/iot-signature.ts';
import { SignedGateway } from '../harness/signed-gateway.ts';
import { signedJwt } from '../harness/signed-jwt.ts';

const endings: (() => unknown)[] = [];
after(async () => {
  for (const end of endings.reverse()) await end();
});
const signed = await SignedGateway.of({ after: (end) => void endings.push(end) });
const { gateway, upstream } = signed;
await gateway.ok('device', 'register', 'a2', 'a1.1');
await gateway.ok('service', 'register', 'be', '--role', 'backend');
const key = await signed.key('device', 'a1');
const keyOfA2 = await signed.key('device', 'a2');
const keyOfDotted = await signed.key('device', 'a1.1');
const keyOfService = await signed.key('service', 'be');
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
writeFileSync(gateway.at('a2.pub'), pair.publicKey.export({ type: 'spki', format: 'pem' }));
const { keyId: jwtKeyId } = await signed.key('device', 'a2', '--public', gateway.at('a2.pub'));

function jwtOfA2(claims: Readonly<Record<string, unknown>> = {}, kid = jwtKeyId): string {
  const now = Math.floor(Date.now() / 1_000);
  const said = { aud: 'localhost', sub: 'a2', iat: now, exp: now + 300, ...claims };
  return signedJwt({ alg: 'ES256', kid }, said, pair.privateKey);
}

const reading = '{"temperature":22.7}';
const json = { 'Content-Type': 'application/json' };
const post = { method: 'POST', path: '/readings/1', body: reading } as const;
const get = { method: 'GET', path: '/readings/1', body: '' } as const;
const good = (): Record<string, string> => ({ ...json, ...iotHeaders(key, post) });

const refused: readonly (readonly [
  what: string,
  bytes: () => string,
  status: number,
  code: string,
])[] = [
  // Another's name, key, path.
  [
    'the id of another in a path',
    () => requestWith('GET', '/own/a2/x', iotHeaders(key, { ...get, path: '/own/a2/x' })),
    404,
    'not-found',
  ],
  [
    'the key id of another',
    () =>
      requestWith('GET', '/readings/1', { ...iotHeaders(key, get), 'x-iot-key-id': keyOfA2.keyId }),
    401,
    'integrity',
  ],
  [
    "the key id of a device whose id has a dot, under the other's key",
    () =>
      requestWith(
        'GET',
        '/readings/1',
        iotHeaders({ keyId: keyOfDotted.keyId, key: key.key }, get),
      ),
    401,
    'integrity',
  ],
  [
    'a second spelling of a key id',
    () =>
      requestWith('GET', '/readings/1', iotHeaders({ ...key, keyId: `device:${key.keyId}` }, get)),
    401,
    'integrity',
  ],
  [
    'a device as a service',
    () =>
      requestWith('GET', '/readings/1', iotHeaders({ ...key, keyId: `service:${key.keyId}` }, get)),
    401,
    'integrity',
  ],
  [
    'a service as a device',
    () =>
      requestWith(
        'GET',
        '/readings/1',
        iotHeaders({ ...keyOfService, keyId: keyOfService.keyId.slice('service:'.length) }, get),
      ),
    401,
    'integrity',
  ],
  [
    'a service where devices belong',
    () => requestWith('GET', '/readings/1', iotHeaders(keyOfService, get)),
    403,
    'forbidden',
  ],
  [
    'a service on the device API',
    () =>
      requestWith(
        'POST',
        '/api/v1/telemetry',
        { ...json, ...iotHeaders(keyOfService, { ...post, path: '/api/v1/telemetry' }) },
        reading,
      ),
    403,
    'forbidden',
  ],
  ...[
    '__proto__.1',
    'constructor.constructor',
    'toString.1',
    '.1',
    'a1.',
    `${'a'.repeat(200)}.1`,
  ].map(
    (keyId) =>
      [
        `the key id ${keyId.slice(0, 30)}`,
        () => requestWith('GET', '/readings/1', iotHeaders({ keyId, key: key.key }, get)),
        401,
        'integrity',
      ] as const,
  ),
  // Two proofs.
  [
    'a signature and a token that is none',
    () => requestWith('GET', '/readings/1', { ...iotHeaders(key, get), Authorization: 'Bearer x' }),
    401,
    'unauthenticated',
  ],
  [
    "a signature and another device's JWT",
    () =>
      requestWith('GET', '/readings/1', {
        ...iotHeaders(key, get),
        Authorization: `Bearer ${jwtOfA2()}`,
      }),
    401,
    'integrity',
  ],
  [
    'a signature that does not verify and a JWT',
    () =>
      requestWith('GET', '/readings/1', {
        ...iotHeaders(keyOfA2, post),
        Authorization: `Bearer ${jwtOfA2()}`,
      }),
    401,
    'integrity',
  ],
  [
    'two tokens',
    () =>
      requestWith('GET', '/readings/1', [
        ['Authorization', `Bearer ${jwtOfA2()}`],
        ['authorization', `Bearer ${jwtOfA2()}`],
      ]),
    400,
    'malformed',
  ],
  [
    'signatures of two kinds',
    () =>
      requestWith('GET', '/readings/1', {
        ...iotHeaders(key, get),
        ...messageSignature(key, [
          ['@method', 'GET'],
          ['@path', '/readings/1'],
        ]),
      }),
    401,
    'integrity',
  ],
  ...(['X-IoT-Signature', 'x-iot-nonce', 'X-IOT-TIMESTAMP', 'X-Iot-Key-Id'] as const).map(
    (name) =>
      [
        `${name} twice`,
        () => {
          const headers = iotHeaders(key, get);
          const same = Object.entries(headers).find(([each]) => each === name.toLowerCase());
          return requestWith('GET', '/readings/1', [
            ...Object.entries(headers),
            [name, same?.[1] ?? ''],
          ]);
        },
        401,
        'integrity',
      ] as const,
  ),
  [
    'two labels',
    () => {
      const one = messageSignature(key, [
        ['@method', 'GET'],
        ['@path', '/readings/1'],
      ]);
      const two = {
        'Signature-Input': `${one['Signature-Input']}, t=("@method");keyid="x"`,
        Signature: `${one['Signature']}, t=:AAAA:`,
      };
      return requestWith('GET', '/readings/1', two);
    },
    401,
    'integrity',
  ],
  // What is signed is not what is asked for.
  ['HEAD signed as GET', () => requestWith('HEAD', '/readings/1', iotHeaders(key, get)), 401, ''],
  [
    'a method in lower case',
    () => requestWith('GET', '/readings/1', iotHeaders(key, { ...get, method: 'get' })),
    401,
    'integrity',
  ],
  ...[
    '/readings/1/',
    '/readings/1;x',
    '/Readings/1',
    '/readings/1%20',
    '/readings/%31%31',
    '/readings/1?a',
  ].map(
    (target) =>
      [
        `signed for /readings/1, asked for ${target}`,
        () => requestWith('GET', target, iotHeaders(key, get)),
        401,
        'integrity',
      ] as const,
  ),
  ...[
    '/readings/../closed/1',
    '/readings/%2e%2e/closed/1',
    '/readings//1',
    '/readings/1%2f',
    '/readings/1%00',
    '/readings/1%',
    '/readings/..;/x',
    '/readings\\1',
    '/readings/1#x',
  ].map(
    (target) =>
      [
        `signed and asked for ${target}`,
        () => requestWith('GET', target, iotHeaders(key, { ...get, path: target })),
        400,
        'malformed',
      ] as const,
  ),
  [
    'the order of the query',
    () => requestWith('GET', '/readings/1?b=2&a=1', iotHeaders(key, { ...get, query: 'a=1&b=2' })),
    401,
    'integrity',
  ],
  [
    'an escape in the query',
    () => requestWith('GET', '/readings/1?a=%31', iotHeaders(key, { ...get, query: 'a=1' })),
    401,
    'integrity',
  ],
  [
    'one byte more of a body',
    () => requestWith('POST', '/readings/1', good(), `${reading} `),
    401,
    'integrity',
  ],
  [
    'one byte less of a body',
    () => requestWith('POST', '/readings/1', good(), reading.slice(1)),
    401,
    'integrity',
  ],
  ['the body of another', () => requestWith('POST', '/readings/1', good(), ''), 401, 'integrity'],
  [
    'names with underscores',
    () =>
      requestWith(
        'GET',
        '/readings/1',
        Object.entries(iotHeaders(key, get)).map(
          ([name, value]) => [name.replaceAll('-', '_'), value] as const,
        ),
      ),
    401,
    'unauthenticated',
  ],
  [
    'a signature for MQTT',
    () =>
      requestWith(
        'POST',
        '/api/v1/telemetry',
        {
          ...json,
          ...iotHeaders(key, { method: 'PUBLISH', path: 'devices/a1/telemetry', body: reading }),
        },
        reading,
      ),
    401,
    'integrity',
  ],
  // RFC 9421: what is left out could be changed.
  [
    'no @method',
    () => requestWith('GET', '/readings/1', messageSignature(key, [['@path', '/readings/1']])),
    401,
    'integrity',
  ],
  [
    'no @path',
    () => requestWith('GET', '/readings/1', messageSignature(key, [['@method', 'GET']])),
    401,
    'integrity',
  ],
  [
    'no @query',
    () =>
      requestWith(
        'GET',
        '/readings/1?a',
        messageSignature(key, [
          ['@method', 'GET'],
          ['@path', '/readings/1'],
        ]),
      ),
    401,
    'integrity',
  ],
  [
    'no content-digest',
    () =>
      requestWith(
        'POST',
        '/readings/1',
        messageSignature(key, [
          ['@method', 'POST'],
          ['@path', '/readings/1'],
        ]),
        reading,
      ),
    401,
    'integrity',
  ],
  [
    'no nonce',
    () =>
      requestWith(
        'GET',
        '/readings/1',
        messageSignature(
          key,
          [
            ['@method', 'GET'],
            ['@path', '/readings/1'],
          ],
          `;created=${Math.floor(Date.now() / 1_000)};keyid="${key.keyId}"`,
        ),
      ),
    401,
    'integrity',
  ],
  [
    'no time',
    () =>
      requestWith(
        'GET',
        '/readings/1',
        messageSignature(
          key,
          [
            ['@method', 'GET'],
            ['@path', '/readings/1'],
          ],
          `;nonce="${newNonce()}";keyid="${key.keyId}"`,
        ),
      ),
    401,
    'integrity',
  ],
  // A form that another route takes is no way around this one's.
  [
    'an HMAC of the body alone',
    () => requestWith('POST', '/readings/1', { ...json, ...bodyHmac(key, reading) }, reading),
    401,
    'integrity',
  ],
  [
    'an HMAC of an empty body, for commands',
    () => requestWith('GET', '/api/v1/commands', bodyHmac(key, '')),
    401,
    'integrity',
  ],
  [
    'an HMAC of an empty body, for the end of a command',
    () => requestWith('DELETE', '/api/v1/commands/x', bodyHmac(keyOfA2, '')),
    401,
    'integrity',
  ],
  [
    'an HMAC of an empty body, where those of bodies are taken',
    () => requestWith('GET', '/legacy/1', bodyHmac(keyOfDotted, '')),
    401,
    'integrity',
  ],
  [
    'a JWT with DPoP',
    () => requestWith('GET', '/readings/1', { Authorization: `DPoP ${jwtOfA2()}` }),
    401,
    'unauthenticated',
  ],
  [
    'a JWT bound to a certificate that nobody shows',
    () =>
      requestWith('GET', '/readings/1', {
        Authorization: `Bearer ${jwtOfA2({ cnf: { 'x5t#S256': 'A'.repeat(43) } })}`,
      }),
    401,
    'unauthenticated',
  ],
  [
    "a JWT by one's own key in another's name",
    () => requestWith('GET', '/readings/1', { Authorization: `Bearer ${jwtOfA2({ sub: 'a1' })}` }),
    401,
    'unauthenticated',
  ],
  [
    "a JWT that names another's key",
    () =>
      requestWith('GET', '/readings/1', {
        Authorization: `Bearer ${jwtOfA2({ sub: 'a1' }, key.keyId)}`,
      }),
    401,
    'unauthenticated',
  ],
  // Framing.
  [
    'two lengths',
    () =>
      requestWith(
        'POST',
        '/readings/1',
        [...Object.entries(good()), ['Content-Length', '1']],
        reading,
      ),
    400,
    'malformed',
  ],
  [
    'a length and chunks',
    () =>
      requestWith('POST', '/readings/1', { ...good(), 'Transfer-Encoding': 'chunked' }, reading),
    400,
    'malformed',
  ],
  [
    'a GET with content',
    () => requestWith('GET', '/readings/1', iotHeaders(key, { ...get, body: reading }), reading),
    400,
    'malformed',
  ],
  [
    'an expectation that nobody knows',
    () => requestWith('POST', '/readings/1', { ...good(), Expect: 'the worst' }, reading),
    417,
    'malformed',
  ],
  [
    'an upgrade of a stranger',
    () => requestWith('GET', '/mqtt', { Connection: 'Upgrade', Upgrade: 'websocket' }),
    401,
    'unauthenticated',
  ],
  [
    'an upgrade that is signed',
    () =>
      requestWith('GET', '/mqtt', {
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
        ...iotHeaders(key, { ...get, path: '/mqtt' }),
      }),
    426,
    'malformed',
  ],
  [
    'CONNECT',
    () => 'CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n',
    400,
    'malformed',
  ],
  [
    'a body beyond the bound, declared',
    () => requestWith('POST', '/readings/1', good(), 'x'.repeat(4_097)),
    413,
    'too-large',
  ],
  [
    'a body beyond the bound, in chunks',
    () =>
      `${requestWith('POST', '/readings/1', { ...good(), 'Transfer-Encoding': 'chunked' })}1001\r\n${'x'.repeat(4_097)}\r\n0\r\n\r\n`,
    413,
    'too-large',
  ],
];

for (const [what, bytes, status, code] of refused) {
  test(`refused: ${what}`, async () => {
    const before = upstream.requests.length;
    const answer = await signed.ask(bytes());
    const said = answer.body.length === 0 ? '' : problemCode(answer);
    assert.deepEqual([answer.status, said], [status, code]);
    assert.equal(upstream.requests.length, before);
    for (const name of ['server', 'x-powered-by', 'via']) {
      assert.ok(!answer.headers.has(name), name);
    }
  });
}
