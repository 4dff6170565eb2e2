import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { principalName } from '../common/base/principal.ts';
import type { ControlToWorker, Member, WorkerAsk } from '../common/ipc/messages.ts';
import { WorkerAsks } from './worker-asks.ts';

interface Sent {
  readonly slot: number;
  readonly id: number;
}

/** Control's side of the questions, between workers and a clock that the test plays. */
function setUp(...seqs: readonly number[]) {
  let members: readonly Member[] = seqs.map((_, slot) => ({ slot, generation: 1, pid: slot }));
  const sent: Sent[] = [];
  const timers = new Set<() => void>();
  const waits: number[] = [];
  const asks = new WorkerAsks({
    toWorker: (slot, message: ControlToWorker) => {
      assert.ok(message.type === 'ask');
      sent.push({ slot, id: message.id });
    },
    members: () => members,
    acknowledgedSeq: (slot) => seqs[slot] ?? -1,
    later: (ms, action) => {
      waits.push(ms);
      timers.add(action);
      return () => timers.delete(action);
    },
  });
  return {
    asks,
    sent,
    timers,
    waits,
    last: (): Sent => sent.at(-1) ?? assert.fail('nobody was asked'),
    passTime: () => {
      for (const action of timers) action();
    },
    remove: (slot: number) => {
      members = members.filter((member) => member.slot !== slot);
      asks.workerGone(slot, 1);
    },
  };
}

const list: WorkerAsk = { what: 'spools' };
const command: WorkerAsk = {
  what: 'send-command',
  device: 'd1',
  name: 'reboot',
  payload: '',
  contentType: undefined,
  from: principalName('operator', 'ann'),
};
const discard: WorkerAsk = { what: 'discard-dead-letters', spool: 'a/b', ids: undefined };

const failsWith =
  (code: ErrorCode, message = /./u) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code && message.test(thrown.message);

/** Lets what has been settled take its way. */
const turn = () => new Promise(setImmediate);

test('one worker is asked and its answer is the answer', async () => {
  const { asks, sent, timers, last } = setUp(3, 3);
  const answer = asks.ask(list);
  assert.equal(sent.length, 1);
  asks.answered(last().slot, { type: 'answer', id: last().id, ok: true, value: [7] });
  assert.deepEqual(await answer, [7]);
  assert.equal(timers.size, 0, 'no timer is left');
});

test('a question waits for seconds, all the dead letters of a spool for a minute', () => {
  const { asks, waits } = setUp(1);
  for (const ask of [list, command, discard]) asks.ask(ask).catch(() => {});
  assert.deepEqual(waits, [5_000, 5_000, 60_000]);
});

test('the most current worker is asked, and never one that has no snapshot', async () => {
  const { asks, sent } = setUp(-1, 4, 9, 8);
  for (let i = 0; i < 8; i += 1) asks.ask(list).catch(() => {});
  assert.deepEqual(new Set(sent.map(({ slot }) => slot)), new Set([2]));
  const starting = setUp(-1, -1);
  await assert.rejects(starting.asks.ask(list), failsWith('unavailable', /no worker serves yet/u));
  assert.deepEqual(starting.sent, []);
});

test('workers that are equally current take turns', () => {
  const { asks, sent } = setUp(5, 5, 5);
  for (let i = 0; i < 6; i += 1) asks.ask(list).catch(() => {});
  assert.deepEqual(new Set(sent.map(({ slot }) => slot)), new Set([0, 1, 2]));
});

test('nobody answers for another worker, twice, or to what was never asked', async () => {
  const { asks, last } = setUp(1, 1);
  const answer = asks.ask(list);
  const { slot, id } = last();
  asks.answered(1 - slot, { id, ok: true, value: 'forged' });
  asks.answered(slot, { id: id + 1, ok: true, value: 'forged' });
  asks.answered(slot, { id: String(id), ok: true, value: 'forged' });
  asks.answered(slot, { id, ok: true, value: 'right' });
  asks.answered(slot, { id, ok: true, value: 'again' });
  assert.equal(await answer, 'right');
});

test('a refusal keeps its code when it is one, and is cut', async () => {
  for (const [code, expected] of [
    ['quota', 'quota'],
    ['unknown-principal', 'unknown-principal'],
    ['constructor', 'internal'],
    [7, 'internal'],
  ] as const) {
    const { asks, last } = setUp(1);
    const answer = asks.ask(list);
    const { slot, id } = last();
    asks.answered(slot, { id, ok: false, code, message: 'x'.repeat(10_000) });
    await assert.rejects(answer, failsWith(expected, /^x{200}$/u));
  }
  const { asks, last } = setUp(1);
  const answer = asks.ask(list);
  // Neither true nor false is no answer that says yes.
  asks.answered(last().slot, { id: last().id, ok: 'true', value: 1 });
  await assert.rejects(answer, failsWith('internal'));
});

test('what is only looked at is asked of another worker when one is silent', async () => {
  const { asks, sent, passTime, last } = setUp(1, 1);
  const answer = asks.ask(list);
  passTime();
  await turn();
  assert.equal(sent.length, 2);
  assert.notEqual(sent[0]?.slot, sent[1]?.slot);
  asks.answered(last().slot, { id: last().id, ok: true, value: 'second' });
  assert.equal(await answer, 'second');
});

test('two silent workers are enough', async () => {
  const { asks, sent, passTime } = setUp(1, 1, 1);
  const answer = asks.ask(list);
  const refused = assert.rejects(answer, failsWith('timeout'));
  passTime();
  await turn();
  passTime();
  await refused;
  assert.equal(sent.length, 2);
});

test('what is only looked at is asked of another worker when one dies', async () => {
  const { asks, sent, remove, last } = setUp(1, 1);
  const answer = asks.ask(list);
  remove(last().slot);
  await turn();
  assert.equal(sent.length, 2);
  asks.answered(last().slot, { id: last().id, ok: true, value: 'second' });
  assert.equal(await answer, 'second');
  const alone = setUp(1);
  const never = alone.asks.ask(list);
  alone.remove(0);
  await assert.rejects(never, failsWith('unavailable', /has ended/u));
});

test('the successor of a slot does not answer for its predecessor', async () => {
  const { asks, last } = setUp(1);
  const answer = asks.ask(command);
  asks.setMembers([{ slot: 0, generation: 2, pid: 9 }]);
  asks.answered(0, { id: last().id, ok: true, value: { id: 'forged' } });
  await assert.rejects(answer, failsWith('unavailable', /may or may not be stored/u));
});

for (const [ask, message] of [
  [command, /the command may or may not be stored/u],
  [discard, /it may or may not be done/u],
] as const) {
  test(`${ask.what} is never asked twice`, async () => {
    const silent = setUp(1, 1);
    const unanswered = silent.asks.ask(ask);
    silent.passTime();
    await assert.rejects(unanswered, failsWith('timeout', message));
    const dying = setUp(1, 1);
    const abandoned = dying.asks.ask(ask);
    dying.remove(dying.last().slot);
    await assert.rejects(abandoned, failsWith('unavailable', message));
    assert.deepEqual([silent.sent.length, dying.sent.length], [1, 1]);
  });
}

test('questions that are open are bounded', async () => {
  const { asks, sent, last } = setUp(1);
  for (let i = 0; i < 64; i += 1) asks.ask(command).catch(() => {});
  await assert.rejects(asks.ask(command), failsWith('busy'));
  assert.equal(sent.length, 64);
  asks.answered(0, { id: last().id, ok: true, value: 0 });
  asks.ask(command).catch(() => {});
  assert.equal(sent.length, 65);
});
