/** A change of standing or policy ends what a device has under way through a proxied route, whatever state it is in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedConfig, proxiedWorld } from '../harness/proxied.ts';
import type { ProxiedWorld } from '../harness/proxied.ts';
import { runningMs, until, within } from '../harness/waiting.ts';

const chunkedHead = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n';

const states = {
  'waits for its answer': { text: requestText('GET', '/b/wait'), isTold: true },
  'has half of its body sent': {
    text: 'POST /b/wait HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
    isTold: true,
  },
  'has half of its answer': { text: requestText('GET', '/b/begun'), isTold: false },
} as const;

const files = { 's.json': '{"type":"object"}' };

const changes: Readonly<
  Record<string, { readonly change: (world: ProxiedWorld) => void; readonly code: string }>
> = {
  suspended: {
    change: ({ surroundings }) => surroundings.setStanding('device/d1', 'suspended'),
    code: 'standing',
  },
  revoked: {
    change: ({ surroundings }) => surroundings.setStanding('device/d1', 'revoked'),
    code: 'standing',
  },
  'out of the role': {
    change: ({ surroundings, backend }) =>
      surroundings.setPolicy(proxiedConfig(backend.url, 'roles: [ backend ]')),
    code: 'forbidden',
  },
};

for (const [state, { text, isTold }] of Object.entries(states)) {
  for (const [what, { change, code }] of Object.entries(changes)) {
    test(`a request that ${state} ends within a second when its device is ${what}`, async (t) => {
      const world = await proxiedWorld(t, {
        behaviour: ({ target }) => (target === '/b/begun' ? chunkedHead : undefined),
      });
      const { surroundings, backend } = world;
      const raw = await surroundings.raw(t);
      raw.send(text);
      await until('the request at the backend', 10_000, () =>
        Buffer.concat(backend.bytes).includes('/b/'),
      );
      if (!isTold) await until('the beginning', 10_000, () => raw.rest.includes('begun'));
      change(world);
      const at = runningMs();
      if (isTold) {
        const answer = await raw.answer();
        assert.deepEqual([answer.status, problemCode(answer)], [403, code]);
      }
      // Who may stay as he is, and only not this, goes on with his connection when it is in good order.
      if (code === 'standing' || !isTold) {
        const ending = await within(raw.ended, 5_000, 'the end of the connection');
        assert.ok(ending.at - at < 1_000, `${ending.at - at} ms`);
      }
      if (!isTold) await assert.rejects(raw.answer(), 'a part that looks whole');
      await until('the end at the backend', 5_000, () => backend.sockets.size === 0);
    });
  }
}

test('a stop lets what is under way finish', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { behaviour: () => undefined });
  const raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/b/x'));
  await backend.request(1);
  const drained = surroundings.listener.drain(0, 5_000);
  for (const socket of backend.sockets)
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone');
  const answer = await raw.answer();
  assert.deepEqual(
    [answer.status, answer.body.toString(), answer.headers.get('connection')],
    [200, 'done', 'close'],
  );
  await drained;
});

test('a quarantined device gets no further than the time', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  surroundings.setStanding('device/d1', 'quarantined');
  const raw = await surroundings.raw(t);
  raw.send(requestText('GET', '/api/v1/time'));
  assert.equal((await raw.answer()).status, 200);
  raw.send(requestText('GET', '/b/x'));
  const answer = await raw.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [403, 'standing']);
  assert.equal(backend.connections, 0);
});

test('a request whose route changes while its body comes is not judged by the one of before', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t, { route: 'schema: s.json', files });
  const ask = async (config: string): Promise<number> => {
    const raw = await surroundings.raw(t);
    const text = requestText('POST', '/b/x', '{"n":1}');
    raw.send(text.slice(0, -1));
    await until('it to be under way', 10_000, () =>
      surroundings.counted.includes('https_requests'),
    );
    surroundings.setPolicy(config, 'told', files);
    raw.send(text.slice(-1));
    surroundings.counted.length = 0;
    return (await raw.answer()).status;
  };
  const same = proxiedConfig(backend.url, 'schema: s.json');
  assert.equal(await ask(same), 200);
  assert.equal(await ask(proxiedConfig(backend.url, 'schema: s.json, integrity: {}')), 503);
  assert.equal(backend.requests.length, 1);
});
