/** Bodies that no reader should finish: how they are refused, and when, also before it is known who sends them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';
import { until, within } from '../harness/waiting.ts';

const head = 'POST /api/v1/telemetry HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';
const last = '0\r\n\r\n';

function chunks(size: number, count: number): string {
  return `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`.repeat(count);
}

/** Nobody is identified until the test says so. */
async function withDoor(t: Parameters<typeof Surroundings.of>[0]) {
  const door = Promise.withResolvers<void>();
  const surroundings: Surroundings = await Surroundings.of(t, {
    ports: {
      identify: async (connection) => {
        await door.promise;
        return surroundings.identify(connection);
      },
    },
  });
  return { surroundings, door };
}

test('small chunks are taken, and a great many of them when there is something in them', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  for (const [size, count] of [
    [1, 200],
    [16, 4_000],
    [20, 4_000],
  ] as const) {
    raw.send(head + chunks(size, count) + last);
    assert.equal((await raw.answer()).status, 202, `${count} of ${size}`);
    assert.equal(surroundings.published.at(-1)?.payload.length, size * count);
  }
});

test('thousands of chunks with next to nothing in them are refused on the way', async (t) => {
  const surroundings = await Surroundings.of(t);
  for (const size of [1, 2, 8]) {
    const raw = await surroundings.raw(t);
    // Never ended: it is refused for what has come.
    raw.send(head + chunks(size, 1_500));
    const answer = await raw.answer();
    assert.deepEqual([answer.status, problemCode(answer)], [413, 'too-large'], `${size}`);
    await within(raw.ended, 5_000, 'the end of the connection');
  }
  assert.deepEqual(surroundings.published, []);
});

test('a length, sent byte by byte, is another matter', async (t) => {
  const surroundings = await Surroundings.of(t);
  const raw = await surroundings.raw(t);
  const body = 'x'.repeat(600);
  raw.send(head.replace('Transfer-Encoding: chunked', `Content-Length: ${body.length}`));
  for (const byte of body) raw.send(byte);
  assert.equal((await raw.answer()).status, 202);
});

for (const { what, body, expected } of [
  { what: 'cannot be read', body: 'zz\r\n', expected: [400, 'malformed'] },
  { what: 'is chunks of nothing', body: chunks(1, 1_500), expected: [413, 'too-large'] },
]) {
  test(`a body that ${what}, sent before it is known who sends it, is answered when it is`, async (t) => {
    const { surroundings, door } = await withDoor(t);
    const raw = await surroundings.raw(t);
    raw.send(head + body);
    // Nothing is parsed for somebody who is not known.
    await until('the connection', 5_000, () => surroundings.listener.connections === 1);
    assert.equal(surroundings.counted.includes('https_requests'), false);
    door.resolve();
    const answer = await raw.answer();
    assert.deepEqual([answer.status, problemCode(answer)], expected);
    await within(raw.ended, 5_000, 'the end of the connection');
    assert.deepEqual(surroundings.published, []);
  });
}
