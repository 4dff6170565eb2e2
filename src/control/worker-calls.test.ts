import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../common/base/errors.ts';
import type { Logger } from '../common/base/logger.ts';
import type { ControlToWorker } from '../common/ipc/messages.ts';
import { WorkerCalls } from './worker-calls.ts';
import type { CallHandler } from './worker-calls.ts';

const silent: Logger = {
  isLevelEnabled: () => false,
  debug() {},
  info() {},
  warn() {},
  error() {},
  fatal() {},
};

function setUp(handler: Partial<CallHandler> = {}) {
  const state = { now: 0 };
  const sent: { slot: number; message: ControlToWorker }[] = [];
  const calls = new WorkerCalls({
    clock: { now: () => state.now, monotonic: () => state.now },
    handlers: {
      ocsp: {
        perSecond: 2,
        atOnce: 10,
        answer: async (slot, { request }) => ({ slot, request }),
        ...handler,
      },
    },
    toWorker: (slot, message) => sent.push({ slot, message }),
    logger: silent,
  });
  const ask = async (id: unknown, call: unknown, slot = 0): Promise<void> =>
    calls.accept(slot, { type: 'call', id, call });
  return { ask, sent, state };
}

const ocsp = { what: 'ocsp', request: 'MA==' };

test('a call is answered to the worker that made it', async () => {
  const { ask, sent } = setUp();
  await ask(7, ocsp, 3);
  assert.deepEqual(sent, [
    { slot: 3, message: { type: 'called', id: 7, ok: true, value: { slot: 3, request: 'MA==' } } },
  ]);
});

test('a refusal keeps its code; a defect is internal', async () => {
  const refusal = setUp({
    answer: async () => {
      throw new SallyportError('forbidden', 'no');
    },
  });
  await refusal.ask(1, ocsp);
  assert.deepEqual(refusal.sent[0]?.message, {
    type: 'called',
    id: 1,
    ok: false,
    code: 'forbidden',
    message: 'no',
  });
  const defect = setUp({
    answer: async () => {
      throw new TypeError('oh');
    },
  });
  await defect.ask(1, ocsp);
  assert.partialDeepStrictEqual(defect.sent[0]?.message, { ok: false, code: 'internal' });
});

test('what is no call is not answered; a call that nobody answers is refused', async () => {
  const { ask, sent } = setUp();
  for (const [id, call] of [
    ['1', ocsp],
    [1, null],
    [1, 'ocsp'],
    [1, [ocsp]],
  ])
    await ask(id, call);
  assert.equal(sent.length, 0);
  for (const what of ['crl', '__proto__', 'constructor', undefined, { toString: 1 }, 3])
    await ask(1, { what });
  assert.deepEqual(
    sent.map(({ message }) => message.type === 'called' && !message.ok && message.code),
    Array.from({ length: 6 }, () => 'not-found'),
  );
});

test('one worker has its share of calls a second, and no more of them open', async () => {
  const { ask, sent, state } = setUp();
  const codes = (): unknown[] =>
    sent.map(({ message }) => (message.type === 'called' && !message.ok ? message.code : 'ok'));
  for (let id = 0; id < 3; id += 1) await ask(id, ocsp);
  await ask(3, ocsp, 1);
  state.now = 1_000;
  await ask(4, ocsp);
  assert.deepEqual(codes(), ['ok', 'ok', 'rate', 'ok', 'ok']);

  const slow = Promise.withResolvers<unknown>();
  const busy = setUp({ perSecond: 10, atOnce: 1, answer: () => slow.promise });
  const first = busy.ask(1, ocsp);
  await busy.ask(2, ocsp);
  assert.partialDeepStrictEqual(busy.sent[0]?.message, { id: 2, ok: false, code: 'busy' });
  slow.resolve(1);
  await first;
  await busy.ask(3, ocsp);
  assert.partialDeepStrictEqual(busy.sent[2]?.message, { id: 3, ok: true });
});
