import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Member } from '../../common/ipc/messages.ts';
import type { Snapshot } from '../../common/ipc/snapshot.ts';
import { SnapshotPublisher } from './publisher.ts';

interface Timer {
  at: number;
  action: () => void;
}

/** A publisher between a registry that has nothing and workers that the test plays. */
function setUp() {
  let now = 0;
  const timers: Timer[] = [];
  const sent: { kind: number; seq: number }[] = [];
  const killed: Member[] = [];
  const publisher = new SnapshotPublisher(5, {
    clock: { now: () => now, monotonic: () => now },
    broadcast: (kind, _epoch, seq) => sent.push({ kind, seq }),
    kill: (member) => killed.push(member),
    // The publisher passes it on and looks at nothing in it.
    buildSnapshot: () => ({}) as Snapshot,
    later: (ms, action) => {
      const timer = { at: now + ms, action };
      timers.push(timer);
      return () => timers.splice(timers.indexOf(timer), 1);
    },
  });
  publisher.publishSnapshot();
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
  return { publisher, sent, killed, pass };
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
