/** Whatever a backend sends, and whenever a device goes: nobody gets the answer to somebody else's request. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { RawAnswer } from '../harness/https-bytes.ts';
import type { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld } from '../harness/proxied.ts';
import type { ProxiedWorld } from '../harness/proxied.ts';
import { answerText } from '../harness/upstream-server.ts';
import type { SeenRequest } from '../harness/upstream-server.ts';
import { until } from '../harness/waiting.ts';

const poison = answerText(200, 'poison');

/** Says who has asked for what. */
function own({ target, headers }: SeenRequest): string {
  return answerText(200, `${headers.get('x-device-id')?.[0]} ${target}`);
}

async function getsItsOwn(world: ProxiedWorld, t: TestContext, id: string): Promise<void> {
  using raw = await world.surroundings.raw(t, id);
  for (const path of ['/b/1', '/b/2', '/b/3']) {
    raw.send(requestText('GET', path));
    const answer = await raw.answer();
    assert.equal(answer.body.toString(), `${id} ${path}`);
  }
}

interface Attack {
  readonly backend: (request: SeenRequest, socket: Socket) => string | undefined;
  readonly device: (raw: RawHttps, world: ProxiedWorld) => Promise<void>;
}

const oneAnswer =
  (method: string, path: string, body?: string) =>
  async (raw: RawHttps): Promise<void> => {
    raw.send(requestText(method, path, body));
    await raw.answer(method);
  };

const goes =
  (text: string) =>
  async (raw: RawHttps, { backend }: ProxiedWorld): Promise<void> => {
    const before = backend.bytes.length;
    raw.send(text);
    await until('the beginning at the backend', 10_000, () => backend.bytes.length > before);
    raw.socket.destroy();
    await until('the end at the backend', 10_000, () => backend.sockets.size === 0);
  };

const attacks: Readonly<Record<string, Attack>> = {
  'an answer to HEAD whose body comes with the next request': {
    backend: (request, socket) => {
      if (request.method === 'HEAD') return 'HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n';
      if (request.connection === 1) socket.write(poison);
      return own(request);
    },
    device: oneAnswer('HEAD', '/b/head'),
  },
  'more than was announced': {
    backend: (request) =>
      request.target === '/b/more' ? answerText(200, 'ok') + poison : own(request),
    device: oneAnswer('GET', '/b/more'),
  },
  'two answers, the first of them early': {
    backend: (request) =>
      request.target === '/b/early' ? `${answerText(200, 'ok')}${poison}` : own(request),
    device: oneAnswer('POST', '/b/early', 'x'),
  },
  '204 with a body': {
    backend: (request) =>
      request.target === '/b/204'
        ? `HTTP/1.1 204 No Content\r\nContent-Length: ${poison.length}\r\n\r\n`
        : (request.connection === 1 ? poison : '') + own(request),
    device: oneAnswer('GET', '/b/204'),
  },
  'bytes on a connection that nobody uses': {
    backend: (request, socket) => {
      if (request.target === '/b/idle')
        setImmediate(() => setImmediate(() => socket.write(poison)));
      return own(request);
    },
    device: async (raw, { backend }) => {
      await oneAnswer('GET', '/b/idle')(raw);
      await until('the end of that connection', 10_000, () => backend.sockets.size === 0);
    },
  },
  'a device that goes in the middle of a body': {
    backend: own,
    device: goes(
      `POST /b/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n${'x'.repeat(30_000)}`,
    ),
  },
  'a device that goes in the middle of a chunk': {
    backend: own,
    device: goes(
      'POST /b/up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nGET /b/poison HTTP/1.1',
    ),
  },
  'a device that goes before its answer': {
    backend: (request) => (request.target === '/b/slow' ? undefined : own(request)),
    device: goes(requestText('GET', '/b/slow')),
  },
  'a device that goes in the middle of its answer': {
    backend: (request) =>
      request.target === '/b/half'
        ? 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'
        : own(request),
    device: async (raw, { backend }) => {
      raw.send(requestText('GET', '/b/half'));
      await until('the beginning', 10_000, () => raw.rest.length > 0);
      raw.socket.destroy();
      await until('the end at the backend', 10_000, () => backend.sockets.size === 0);
    },
  },
  'an early answer while the body still comes': {
    backend: own,
    device: async (raw, { backend }) => {
      backend.takes = (socket) => {
        backend.takes = () => false;
        socket.once('data', () => socket.write(answerText(200, 'early')));
        socket.resume();
        return true;
      };
      const rest = 'GET /b/poison HTTP/1.1\r\nHost: localhost\r\n\r\n'.padEnd(30_000, 'x');
      raw.send(`POST /b/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n${rest}`);
      const answer: RawAnswer = await raw.answer();
      assert.equal(answer.body.toString(), 'early');
      raw.send(rest);
      raw.send(requestText('GET', '/b/next'));
      assert.equal((await raw.answer()).body.toString(), 'd1 /b/next');
    },
  },
};

test('nobody gets the answer to another request', async (t) => {
  for (const [name, { backend, device }] of Object.entries(attacks)) {
    await t.test(name, async (each) => {
      const world = await proxiedWorld(each, { behaviour: backend });
      using raw = await world.surroundings.raw(each, 'd1');
      await device(raw, world);
      await getsItsOwn(world, each, 'd2');
      assert.ok(world.backend.requests.every(({ target }) => target !== '/b/poison'));
      assert.deepEqual(world.surroundings.faults, []);
    });
  }
});

test('many at once, some of whom go, each get their own', async (t) => {
  const world = await proxiedWorld(t, {
    settings: { connections: 3 },
    route: 'concurrent: 1000',
    behaviour: (request, socket) => {
      const answer = own(request);
      if (!request.target.endsWith('7')) return answer;
      socket.write(answer.slice(0, -4));
      setImmediate(() => socket.write(answer.slice(-4)));
      return undefined;
    },
  });
  await Promise.all(
    Array.from({ length: 8 }, async (_, n) => {
      const id = `d${1 + (n % 2)}`;
      for (let round = 0; round < 4; round += 1) {
        using raw = await world.surroundings.raw(t, id);
        for (let i = 0; i < 10; i += 1) {
          const path = `/b/${round}/${i}`;
          raw.send(requestText('GET', path));
          if (i === 5 && n % 4 < 2) break;
          assert.equal((await raw.answer()).body.toString(), `${id} ${path}`);
        }
        raw.socket.destroy();
      }
    }),
  );
  assert.deepEqual(world.surroundings.faults, []);
});
