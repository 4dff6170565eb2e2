import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameKinds } from '../../common/ipc/frames.ts';
import type { Member } from '../../common/ipc/messages.ts';
import type { Snapshot, SnapshotChange } from '../../common/ipc/snapshot.ts';
import { additionMs, SnapshotPublisher } from './publisher.ts';

interface Timer {
  at: number;
  action: () => void;
}

/** A publisher between a registry that has nothing and workers that the test plays. */
function setUp() {
  let now = 0;
  const timers: Timer[] = [];
  const sent: { kind: number; seq: number }[] = [];
  const deltas: (readonly SnapshotChange[])[] = [];
  const waiting: (() => void)[] = [];
  const killed: Member[] = [];
  const publisher = new SnapshotPublisher(5, {
    clock: { now: () => now, monotonic: () => now },
    broadcast: (kind, _epoch, seq, message) => {
      sent.push({ kind, seq });
      if (message.type === 'delta') deltas.push(message.changes);
    },
    kill: (member) => killed.push(member),
    // The publisher passes it on and looks at nothing in it.
    buildSnapshot: () => ({}) as Snapshot,
    later: (ms, action) => {
      const timer = { at: now + ms, action };
      timers.push(timer);
      return () => timers.splice(timers.indexOf(timer), 1);
    },
    soon: (action) => waiting.push(action),
  });
  publisher.publishSnapshot();
  const endTurn = (): void => {
    for (const action of waiting.splice(0)) action();
  };
  const pass = (ms: number): void => {
    const until = now + ms;
    for (;;) {
      const due = timers.filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      timers.splice(timers.indexOf(due), 1);
      now = due.at;
      due.action();
    }
    now = until;
  };
  return { publisher, sent, deltas, killed, pass, endTurn };
}

const revoked = [{ type: 'revoked', serials: ['internal:01'] }] as const;
const w0 = { slot: 0, generation: 1, pid: 100 };
const w1 = { slot: 1, generation: 2, pid: 101 };

async function outcome<T>(promise: Promise<T>): Promise<T | 'pending'> {
  return Promise.race([
    promise,
    new Promise<'pending'>((resolve) => setImmediate(resolve, 'pending')),
  ]);
}

test('a change is done only when every worker has acknowledged it', async () => {
  const { publisher } = setUp();
  publisher.setMembers([w0, w1]);
  publisher.acknowledged(0, 5, 1);
  publisher.acknowledged(1, 5, 1);
  const done = publisher.publish(revoked);
  publisher.acknowledged(0, 5, 2);
  assert.equal(await outcome(done), 'pending');
  publisher.acknowledged(1, 5, 2);
  assert.deepEqual(await outcome(done), { acknowledged: 2, killed: 0 });
});

test('a worker that is silent for two seconds is killed, and the change is done when it is gone', async () => {
  const { publisher, killed, pass } = setUp();
  publisher.setMembers([w0, w1]);
  publisher.acknowledged(0, 5, 1);
  publisher.acknowledged(1, 5, 1);
  const done = publisher.publish(revoked);
  publisher.acknowledged(0, 5, 2);
  pass(1_999);
  assert.deepEqual(killed, []);
  pass(1);
  assert.deepEqual(killed, [w1]);
  assert.equal(await outcome(done), 'pending');
  publisher.workerGone(1, 2);
  assert.deepEqual(await outcome(done), { acknowledged: 1, killed: 1 });
});

test('a worker that is late with what takes nothing from anybody has longer, unless something is taken meanwhile', () => {
  const { publisher, killed, pass } = setUp();
  publisher.setMembers([w0]);
  publisher.acknowledged(0, 5, 1);
  void publisher.publish(revoked, additionMs);
  pass(additionMs - 1);
  assert.deepEqual(killed, []);
  pass(1);
  assert.deepEqual(killed, [w0]);

  const other = setUp();
  other.publisher.setMembers([w1]);
  other.publisher.acknowledged(1, 5, 1);
  void other.publisher.publish(revoked, additionMs);
  void other.publisher.publish(revoked);
  other.pass(2_000);
  assert.deepEqual(other.killed, [w1]);
});

test('a worker that is still starting gets the time to start, and no more', () => {
  const { publisher, killed, pass } = setUp();
  publisher.setMembers([w0]);
  void publisher.publish(revoked);
  pass(19_000);
  assert.deepEqual(killed, []);
  pass(3_000);
  assert.deepEqual(killed, [w0]);
});

test('a worker cannot acknowledge for another, in another epoch, or what was never sent', async () => {
  const { publisher } = setUp();
  publisher.setMembers([w0, w1]);
  const done = publisher.publish(revoked);
  publisher.acknowledged(0, 5, 2);
  publisher.acknowledged(0, 5, 99);
  publisher.acknowledged(1, 4, 2);
  publisher.acknowledged(1, 5, Number.NaN);
  publisher.acknowledged(1, 5, 3);
  assert.equal(await outcome(done), 'pending');
});

test('the successor of a slot does not answer for its predecessor', async () => {
  const { publisher } = setUp();
  publisher.setMembers([w0]);
  const done = publisher.publish(revoked);
  publisher.setMembers([{ slot: 0, generation: 9, pid: 200 }]);
  assert.deepEqual(await outcome(done), { acknowledged: 0, killed: 0 });
});

const added = (name: string): SnapshotChange => ({ type: 'revoked', serials: [name] });

test('additions of one turn go out together, and each is done when every worker has them', async () => {
  const { publisher, deltas, killed, pass, endTurn } = setUp();
  publisher.setMembers([w0]);
  publisher.acknowledged(0, 5, 1);
  const first = publisher.publishAddition([added('a')]);
  const second = publisher.publishAddition([added('b'), added('c')]);
  assert.deepEqual(deltas, []);
  endTurn();
  assert.deepEqual(deltas, [[added('a'), added('b'), added('c')]]);
  assert.equal(await outcome(first), 'pending');
  publisher.acknowledged(0, 5, 2);
  for (const done of [first, second]) {
    assert.deepEqual(await outcome(done), { acknowledged: 1, killed: 0 });
  }
  void publisher.publishAddition([added('d')]);
  endTurn();
  assert.deepEqual(deltas.slice(1), [[added('d')]]);
  pass(additionMs - 1);
  assert.deepEqual(killed, []);
  pass(1);
  assert.deepEqual(killed, [w0]);
});

test('what is taken away is told at once, behind what was added before it', () => {
  const { publisher, deltas, endTurn } = setUp();
  void publisher.publishAddition([added('a')]);
  void publisher.publish(revoked);
  assert.deepEqual(deltas, [[added('a')], revoked]);
  void publisher.publishAddition([added('b')]);
  endTurn();
  assert.deepEqual(deltas.slice(2), [[added('b')]]);
});

test('a snapshot comes behind what was added before it, and only once', () => {
  const { publisher, sent, endTurn } = setUp();
  void publisher.publishAddition([added('a')]);
  publisher.publishSnapshot();
  endTurn();
  assert.deepEqual(
    sent.map(({ kind, seq }) => [kind, seq]),
    [
      [frameKinds.snapshot, 1],
      [frameKinds.delta, 2],
      [frameKinds.snapshot, 3],
    ],
  );
});

test('a delta of additions stays small, whatever comes in one turn', () => {
  const { publisher, deltas, endTurn } = setUp();
  for (let n = 0; n < 250; n++) void publisher.publishAddition([added(`${n}`)]);
  endTurn();
  assert.deepEqual(
    deltas.map(({ length }) => length),
    [100, 100, 50],
  );
});
