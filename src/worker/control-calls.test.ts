import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WorkerToControl } from '../common/ipc/messages.ts';
import { ControlCalls } from './control-calls.ts';

const what = { what: 'ocsp', request: '' } as const;

function setUp() {
  const sent: Extract<WorkerToControl, { type: 'call' }>[] = [];
  const timers = new Set<() => void>();
  const calls = new ControlCalls({
    toControl: (message) => {
      assert.ok(message.type === 'call');
      sent.push(message);
    },
    later: (_ms, action) => {
      timers.add(action);
      return () => timers.delete(action);
    },
  });
  return { calls, sent, timers };
}

test('each call gets its own answer, in whatever order they come, and once', async () => {
  const { calls, sent, timers } = setUp();
  const first = calls.call(what);
  const second = calls.call(what);
  const [a, b] = sent;
  assert.ok(a !== undefined && b !== undefined);
  assert.deepEqual([a.call, b.call], [what, what]);
  calls.called({ type: 'called', id: b.id, ok: true, value: 'second' });
  calls.called({ type: 'called', id: b.id, ok: true, value: 'again' });
  calls.called({ type: 'called', id: a.id, ok: false, code: 'rate', message: 'too many' });
  calls.called({ type: 'called', id: 99, ok: true, value: 'nobody asked' });
  assert.equal(await second, 'second');
  await assert.rejects(first, { code: 'rate', message: 'too many' });
  assert.equal(timers.size, 0);
});

test('control that does not answer is unavailable, and its late answer is nobody’s', async () => {
  const { calls, sent, timers } = setUp();
  const call = calls.call(what);
  for (const ring of timers) ring();
  await assert.rejects(call, { code: 'unavailable' });
  calls.called({ type: 'called', id: sent[0]?.id ?? 0, ok: true, value: 'late' });
});

test('calls under way are bounded, and an answer makes room', async () => {
  const { calls, sent } = setUp();
  const open = Array.from({ length: 64 }, () => calls.call(what));
  await assert.rejects(calls.call(what), { code: 'busy' });
  assert.equal(sent.length, 64);
  calls.called({ type: 'called', id: sent[0]?.id ?? 0, ok: true, value: 1 });
  assert.equal(await open[0], 1);
  void calls.call(what);
  assert.equal(sent.length, 65);
});

test('an answer to the worker that had this slot before is nobody’s', async () => {
  const before = setUp();
  const after = setUp();
  void before.calls.call(what);
  const call = after.calls.call(what);
  const id = (worker: typeof before): number => worker.sent[0]?.id ?? 0;
  after.calls.called({ type: 'called', id: id(before), ok: true, value: 'somebody else’s' });
  after.calls.called({ type: 'called', id: id(after), ok: true, value: 'mine' });
  assert.equal(await call, 'mine');
});
