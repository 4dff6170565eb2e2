/** WebSocket through a proxied route: where it is allowed, for whom it is, and for no longer than that holds. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import type { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedConfig, proxiedWorld } from '../harness/proxied.ts';
import { answerText } from '../harness/upstream-server.ts';
import type { Behaviour } from '../harness/upstream-server.ts';
import { runningMs, until, within } from '../harness/waiting.ts';

const route = 'webSocket: true';
const handshake = [
  'Connection: keep-alive, Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Protocol: chat',
];
const switched = [
  'HTTP/1.1 101 Switching Protocols',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
  'Sec-WebSocket-Protocol: chat',
  'Server: Backend/1.0',
];

/** Whatever is not HTTP any more is said back, in capitals. */
const echo: Behaviour = (_, socket) => {
  socket.removeAllListeners('data');
  socket.on('data', (chunk: Buffer) => socket.write(chunk.toString().toUpperCase()));
  return `${switched.join('\r\n')}\r\n\r\n`;
};

async function opened(raw: RawHttps, path = '/b/ws'): Promise<void> {
  raw.send(requestText('GET', path, undefined, ...handshake));
  const answer = await raw.answer();
  assert.equal(answer.status, 101);
  assert.equal(answer.headers.get('upgrade'), 'websocket');
  assert.equal(answer.headers.get('sec-websocket-accept'), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  assert.equal(answer.headers.get('sec-websocket-protocol'), 'chat');
  assert.equal(answer.headers.get('server'), undefined);
}

async function says(raw: RawHttps, text: string): Promise<void> {
  raw.send(text);
  await until(`the echo of ${text}`, 10_000, () => raw.rest.includes(text.toUpperCase()));
}

test('bytes go both ways as they are, and the backend knows who speaks', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route, behaviour: echo });
  using raw = await surroundings.raw(t);
  await opened(raw, '/b/%77s?room=1');
  const { target, headers } = await backend.request(1);
  assert.equal(target, '/b/ws?room=1');
  assert.deepEqual(headers.get('x-device-id'), ['d1']);
  assert.deepEqual(headers.get('upgrade'), ['websocket']);
  assert.deepEqual(headers.get('connection'), ['Upgrade']);
  assert.deepEqual(headers.get('sec-websocket-key'), ['dGhlIHNhbXBsZSBub25jZQ==']);
  await says(raw, 'hello');
  await says(raw, 'x'.repeat(300_000));
  const [socket] = backend.sockets;
  socket?.end('bye');
  await within(raw.ended, 10_000, 'the end of the connection');
  assert.ok(raw.rest.toString().endsWith('bye'));
});

test('what a device says before it goes reaches the backend', async (t) => {
  let heard = '';
  const { surroundings, backend } = await proxiedWorld(t, {
    route,
    behaviour: (_, socket) => {
      socket.removeAllListeners('data');
      socket.on('data', (chunk: Buffer) => {
        heard += chunk.toString();
      });
      return `${switched.join('\r\n')}\r\n\r\n`;
    },
  });
  const raw = await surroundings.raw(t);
  await opened(raw);
  raw.socket.end('last words');
  await until('the last words', 10_000, () => heard === 'last words');
  await until('the end at the backend', 10_000, () => backend.sockets.size === 0);
});

test('a backend that does not want it says so, and one that is not there is unavailable', async (t) => {
  let answer: string | undefined = answerText(403, 'no', 'X-Why: because', 'WWW-Authenticate: x');
  const { surroundings, backend } = await proxiedWorld(t, {
    route,
    behaviour: (_, socket) => {
      if (answer === undefined) socket.destroy();
      return answer;
    },
  });
  const refused = await surroundings.raw(t);
  refused.send(requestText('GET', '/b/ws', undefined, ...handshake));
  const [said] = await refused.answersUntilClose();
  assert.deepEqual(
    [
      said?.status,
      said?.headers.get('x-why'),
      said?.body.toString(),
      said?.headers.get('connection'),
    ],
    [403, 'because', '', 'close'],
  );
  answer = undefined;
  const dead = await surroundings.raw(t);
  dead.send(requestText('GET', '/b/ws', undefined, ...handshake));
  const [unavailable] = await dead.answersUntilClose();
  assert.equal(unavailable?.status, 503);
  assert.match(unavailable.headers.get('retry-after') ?? '', /^\d+$/);
  await backend.close();
  const gone = await surroundings.raw(t);
  gone.send(requestText('GET', '/b/ws', undefined, ...handshake));
  assert.equal((await gone.answersUntilClose())[0]?.status, 503);
});

test('it is judged as any request: role, page, rate, number', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    route: `${route}, roles: [ backend ], concurrent: 1`,
    behaviour: echo,
  });
  const ask = async (id: string, ...lines: readonly string[]) => {
    const raw = await surroundings.raw(t, id);
    raw.send(requestText('GET', '/b/ws', undefined, ...handshake, ...lines));
    const answer = await raw.answer();
    return { raw, said: [answer.status, answer.status === 101 ? '' : problemCode(answer)] };
  };
  assert.deepEqual((await ask('d1')).said, [403, 'forbidden']);
  assert.deepEqual((await ask('s1', 'Origin: https://evil.example')).said, [403, 'forbidden']);
  assert.deepEqual((await ask('s1', 'Expect: x')).said, [417, 'malformed']);
  assert.equal(backend.connections, 0);
  const first = await ask('s1', 'Origin: https://localhost');
  assert.deepEqual(first.said, [101, '']);
  assert.deepEqual((await ask('s1')).said, [429, 'rate']);
  first.raw.socket.destroy();
  await until('the end of the first', 10_000, () => backend.sockets.size === 0);
  assert.deepEqual((await ask('s1')).said, [101, '']);
});

test('a token is not passed on: it is not by a token that anybody is known here', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, {
    route: `${route}, authenticate: [ certificate, token ]`,
    config: 'tokens: { endpoint: {} }',
    behaviour: echo,
  });
  const raw = await surroundings.raw(t);
  const token = 'Authorization: Bearer a.b.c';
  raw.send(requestText('GET', '/b/ws', undefined, ...handshake, token));
  const answer = await raw.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [401, 'unauthenticated']);
  assert.equal(backend.connections, 0);
  // Another scheme than that of tokens is between the device and the backend.
  using basic = await surroundings.raw(t);
  basic.send(requestText('GET', '/b/ws', undefined, ...handshake, 'Authorization: Basic eDp5'));
  assert.equal((await basic.answer()).status, 101);
  assert.deepEqual((await backend.request(1)).headers.get('authorization'), ['Basic eDp5']);
});

test('a handshake tells the backend who asks, whatever the device says of it', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route, behaviour: echo });
  using raw = await surroundings.raw(t);
  const lines = [
    'X-Device-Id: d2',
    'X_Device_Id: d2',
    'X-Forwarded-For: 1.2.3.4',
    'X-Principal: operator/root',
    'Client-Cert: :AA==:',
    'Sec-WebSocket-Extensions: permessage-deflate',
    'Cookie: a=b',
  ];
  raw.send(requestText('GET', '/b/ws', undefined, ...handshake, ...lines));
  assert.equal((await raw.answer()).status, 101);
  const { headers } = await backend.request(1);
  assert.deepEqual(headers.get('x-device-id'), ['d1']);
  assert.deepEqual(headers.get('x-principal'), ['device/d1']);
  assert.equal(headers.get('x_device_id'), undefined);
  assert.doesNotMatch(headers.get('x-forwarded-for')?.join() ?? '', /1\.2\.3\.4/);
  assert.notDeepEqual(headers.get('client-cert'), [':AA==:']);
  assert.deepEqual(headers.get('cookie'), ['a=b']);
  assert.deepEqual(headers.get('sec-websocket-extensions'), ['permessage-deflate']);
  using named = await surroundings.raw(t);
  const naming = handshake.map((line) => line.replace('keep-alive', 'X-Device-Id, X-Principal'));
  named.send(requestText('GET', '/b/ws', undefined, ...naming));
  assert.equal((await named.answer()).status, 101);
  assert.deepEqual((await backend.request(2)).headers.get('x-device-id'), ['d1']);
});

test('what is no switch to WebSocket is none for the device', async (t) => {
  let answer = '';
  const { surroundings, backend } = await proxiedWorld(t, {
    route,
    behaviour: () => answer,
    settings: { breaker: { failures: 1_000, openMs: 1 } },
  });
  const begin = 'HTTP/1.1 101 Switching Protocols\r\n';
  for (answer of [
    `${begin}\r\n`,
    `${begin}Upgrade: websocket\r\n\r\n`,
    `${begin}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n`,
    `${begin}Connection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n`,
    `${begin}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n`,
    `${begin}Connection: upgrade\r\nUpgrade: websocket\r\nX: a\nSet-Cookie: b\r\n\r\n`,
    `${'HTTP/1.1 100 Continue\r\n\r\n'.repeat(9)}${switched.join('\r\n')}\r\n\r\n`,
  ]) {
    const before = backend.requests.length;
    const raw = await surroundings.raw(t);
    raw.send(requestText('GET', '/b/ws', undefined, ...handshake));
    const [said, ...more] = await raw.answersUntilClose();
    assert.deepEqual([said?.status, more.length], [503, 0], answer);
    assert.equal(backend.requests.length, before + 1, answer);
  }
  assert.deepEqual(surroundings.faults, []);
});

for (const [what, change] of Object.entries({
  'the device is suspended': (world) => world.surroundings.setStanding('device/d1', 'suspended'),
  'the device is quarantined': (world) =>
    world.surroundings.setStanding('device/d1', 'quarantined'),
  'the certificate is revoked': ({ surroundings }) =>
    surroundings.listener.certificatesRevoked((each) => each === surroundings.certificateOf('d1')),
  'the role may no longer': ({ surroundings, backend }) =>
    surroundings.setPolicy(proxiedConfig(backend.url, `${route}, roles: [ backend ]`)),
  'the route is gone': ({ surroundings }) =>
    surroundings.setPolicy('limits: { identityRates: { device: [] } }'),
  'the route is no longer for WebSocket': ({ surroundings, backend }) =>
    surroundings.setPolicy(proxiedConfig(backend.url)),
} satisfies Record<string, (world: Awaited<ReturnType<typeof proxiedWorld>>) => void>)) {
  test(`an open one ends within a second when ${what}, at both ends, and no other`, async (t) => {
    const world = await proxiedWorld(t, { route, behaviour: echo });
    const raw = await world.surroundings.raw(t);
    await opened(raw);
    await says(raw, 'before');
    const isOfOne = /device|certificate/.test(what);
    const other = await world.surroundings.raw(t, 'd2');
    await opened(other);
    change(world);
    const at = runningMs();
    const ending = await within(raw.ended, 5_000, 'the end of the connection');
    assert.ok(ending.at - at < 1_000, `${ending.at - at} ms`);
    const left = isOfOne ? 1 : 0;
    await until('its end at the backend', 5_000, () => world.backend.sockets.size === left);
    if (isOfOne) await says(other, 'still here');
  });
}

test('one that asks while it is ended is not opened', async (t) => {
  let its: Socket | undefined;
  const { surroundings, backend } = await proxiedWorld(t, {
    route,
    behaviour: (_, socket) => {
      its = socket;
      return undefined;
    },
  });
  const raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/b/ws', undefined, ...handshake));
  await backend.request(1);
  surroundings.setStanding('device/d1', 'suspended');
  await within(raw.ended, 5_000, 'the end of the connection');
  assert.equal(raw.rest.length, 0);
  await until('the end at the backend', 5_000, () => its?.destroyed === true);
});

test('a backend that does not read holds the device back', async (t) => {
  let its: Socket | undefined;
  const { surroundings } = await proxiedWorld(t, {
    route,
    behaviour: (_, socket) => {
      its = socket;
      socket.pause();
      return `${switched.join('\r\n')}\r\n\r\n`;
    },
  });
  const raw = await surroundings.raw(t);
  await opened(raw);
  const piece = Buffer.alloc(65_536);
  let sent = 0;
  const pour = (): void => {
    while (sent < 500_000_000) {
      sent += piece.length;
      if (!raw.socket.write(piece)) return;
    }
  };
  raw.socket.on('drain', pour);
  pour();
  let before = -1;
  await until('the device to be held back', 20_000, () => {
    const same = sent === before;
    before = sent;
    return same;
  });
  assert.ok(sent < 100_000_000, `${sent} bytes were taken`);
  its?.resume();
  await until('it to go on', 10_000, () => sent > before + 1_000_000);
});

test('a reader that does not read holds the other end back, and goes', async (t) => {
  let taken = 0;
  const { surroundings, backend } = await proxiedWorld(t, {
    route,
    limits: { stalledMs: 1_500 },
    behaviour: (_, socket) => {
      const piece = Buffer.alloc(65_536);
      const pour = (): void => {
        while (socket.writable && taken < 500_000_000) {
          taken += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.on('drain', pour);
      setImmediate(pour);
      return `${switched.join('\r\n')}\r\n\r\n`;
    },
  });
  const raw = await surroundings.raw(t);
  await opened(raw);
  raw.socket.pause();
  await until('the end at the backend', 20_000, () => backend.sockets.size === 0);
  assert.ok(taken < 100_000_000, `${taken} bytes were taken`);
});
