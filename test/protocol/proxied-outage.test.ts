/** A backend that is gone, hangs or fails: devices are told so at once, other routes notice nothing, and it comes back by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import type { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { proxiedWorld, settingsOf } from '../harness/proxied.ts';
import { answerText, UpstreamServer } from '../harness/upstream-server.ts';
import { runningMs, until } from '../harness/waiting.ts';
import type { UpstreamSettings } from '../../src/common/ipc/snapshot.ts';

const breaker = { failures: 3, openMs: 1_000 };
/** How long one that hangs is waited for. One that answers has more time: the machine may stand still for a second. */
const answerMs = 1_000;
const overloaded = 'overloaded';
const others = "  other: { path: /o/, upstream: 'http://127.0.0.1:1', rate: [] }";

async function ask(
  raw: RawHttps,
  path: string,
): Promise<{ readonly status: number; readonly ms: number }> {
  const at = runningMs();
  raw.send(requestText('GET', path));
  const answer = await raw.answer();
  // What the backend itself says is passed on as it is.
  if (answer.status === 503 && answer.body.toString() !== overloaded) {
    assert.equal(problemCode(answer), 'unavailable');
    assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
  }
  return { status: answer.status, ms: runningMs() - at };
}

/** The middle one of an odd number: one pause of the machine says nothing. */
function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[(values.length - 1) / 2] ?? Number.NaN;
}

type Breaks = (
  backend: UpstreamServer,
  setTimes: (times: Partial<UpstreamSettings>) => void,
) => void | Promise<void>;

for (const [how, breaks] of Object.entries({
  'is gone': (backend) => backend.close(),
  hangs: (backend, setTimes) => {
    backend.behaviour = () => undefined;
    setTimes({ answerMs });
  },
  'answers with errors': (backend) => {
    backend.behaviour = () => answerText(503, overloaded);
  },
} satisfies Record<string, Breaks>)) {
  test(`a backend that ${how}: 503 at once, others unaffected, recovery without a restart`, async (t) => {
    const { surroundings, backend } = await proxiedWorld(t, { config: others });
    const other = await UpstreamServer.of(t);
    const setTimes = (times: Partial<UpstreamSettings>): void =>
      surroundings.setUpstreams([
        settingsOf('backend', [backend.url], { breaker, ...times }),
        settingsOf('other', [other.url]),
      ]);
    setTimes({});
    using raw = await surroundings.raw(t);
    assert.equal((await ask(raw, '/b/x')).status, 200);
    await breaks(backend, setTimes);
    // Until the breaker has seen enough.
    for (let n = 0; n < breaker.failures; n += 1)
      assert.equal((await ask(raw, '/b/x')).status, 503);
    const refused = await Promise.all(
      Array.from({ length: 5 }, async () => {
        using device = await surroundings.raw(t, 'd2');
        return await ask(device, '/b/x');
      }),
    );
    assert.ok(refused.every(({ status }) => status === 503));
    const times: number[] = [];
    for (let n = 0; n < 9; n += 1) {
      assert.equal((await ask(raw, '/o/x')).status, 200);
      times.push((await ask(raw, '/b/x')).ms);
    }
    // Whoever asks the backend that hangs has to wait for `answerMs`.
    assert.ok(middle(times) < 50, `${times.join()} ms`);
    if (how === 'is gone') await backend.listen();
    backend.behaviour = () => answerText(200, 'back');
    setTimes({});
    await until(
      'the backend to be asked again',
      10_000,
      async () => (await ask(raw, '/b/x')).status === 200,
    );
    // One try has closed it: nobody is refused any more.
    for (let n = 0; n < 5; n += 1) assert.equal((await ask(raw, '/b/x')).status, 200);
  });
}

test('a route without an upstream answers 503, and gets no traffic', async (t) => {
  const { surroundings, backend } = await proxiedWorld(t);
  surroundings.setUpstreams([]);
  using raw = await surroundings.raw(t);
  assert.equal((await ask(raw, '/b/x')).status, 503);
  assert.equal(backend.connections, 0);
});
