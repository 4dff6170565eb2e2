import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { fc } from '../../common/base/property-test-support.ts';
import { FairQueue } from './fair-queue.ts';

interface Member {
  readonly network: string;
  readonly n: number;
}

const everybody = (): boolean => true;

/** So many members are served. */
function served(
  queue: FairQueue<Member>,
  count: number,
  admits: (network: string) => boolean = everybody,
): Member[] {
  const members: Member[] = [];
  queue.serve(
    () => members.length < count,
    admits,
    (member) => members.push(member),
  );
  return members;
}

const names = (members: readonly Member[]): string[] =>
  members.map(({ network, n }) => `${network}${n}`);

function fill(queue: FairQueue<Member>, network: string, count: number, capacity = 1_000): void {
  for (let n = 0; n < count; n += 1)
    assert.equal(queue.push({ network, n }, n, capacity), undefined);
}

test('networks are served in turn, the members of each in the order in which they came', () => {
  const queue = new FairQueue<Member>();
  fill(queue, 'a', 5);
  fill(queue, 'b', 2);
  fill(queue, 'c', 1);
  assert.deepEqual(names(served(queue, 4)), ['a0', 'b0', 'c0', 'a1']);
  assert.deepEqual(names(served(queue, 100)), ['b1', 'a2', 'a3', 'a4']);
  assert.equal(queue.size, 0);
});

test('a network that may not be served now keeps nobody else, and its members their places', () => {
  const queue = new FairQueue<Member>();
  fill(queue, 'a', 2);
  fill(queue, 'b', 2);
  assert.deepEqual(names(served(queue, 100, (network) => network === 'b')), ['b0', 'b1']);
  assert.deepEqual(names(served(queue, 100)), ['a0', 'a1']);
});

test('when it is full the network that has most in it makes room, with who came last of it', () => {
  const queue = new FairQueue<Member>();
  fill(queue, 'flood', 9, 10);
  fill(queue, 'b', 1, 10);
  const flooder = { network: 'flood', n: 9 };
  assert.equal(queue.push(flooder, 9, 10), flooder, 'the flood itself gets no more');
  assert.equal(queue.push({ network: 'c', n: 0 }, 9, 10)?.n, 8);
  assert.equal(queue.push({ network: 'c', n: 1 }, 9, 10)?.n, 7);
  assert.deepEqual([queue.size, queue.sizeOf('flood'), queue.sizeOf('c')], [10, 7, 2]);
  assert.equal(served(queue, 100).length, 10);
});

test('who has waited for too long goes first out', () => {
  const queue = new FairQueue<Member>();
  fill(queue, 'a', 3);
  fill(queue, 'b', 3);
  const gone: Member[] = [];
  queue.expire(2, (member) => gone.push(member));
  assert.deepEqual(names(gone), ['a0', 'a1']);
  queue.remove(gone[0] ?? { network: '', n: 0 });
  assert.equal(queue.size, 4);
});

test('no order of comings and goings loses a member, serves one twice or leaves one waiting for ever', () => {
  const action = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('push'), to: fc.nat(5) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('serve'), to: fc.nat(6) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('remove'), to: fc.nat(50) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('deny'), to: fc.nat(5) }) },
  );
  fc.assert(
    fc.property(
      fc.array(action, { maxLength: 200 }),
      fc.integer({ min: 1, max: 20 }),
      (steps, capacity) => {
        const queue = new FairQueue<Member>();
        const waiting = new Map<number, Member>();
        let n = 0;
        const leave = (member: Member): void => {
          assert.ok(waiting.delete(member.n), `${member.n} was not waiting`);
        };
        for (const { do: what, to } of steps) {
          if (what === 'push') {
            const member = { network: `n${to}`, n };
            waiting.set(n, member);
            n += 1;
            const dropped = queue.push(member, n, capacity);
            if (dropped !== undefined) leave(dropped);
          } else if (what === 'remove') {
            const member = [...waiting.values()][to];
            if (member === undefined) continue;
            leave(member);
            assert.ok(queue.remove(member));
          } else {
            const admits = (network: string): boolean => what !== 'deny' || network !== `n${to}`;
            for (const member of served(queue, what === 'deny' ? 100 : to, admits)) {
              assert.ok(admits(member.network));
              leave(member);
              for (const other of waiting.values())
                assert.ok(other.network !== member.network || other.n > member.n, 'out of order');
            }
          }
          assert.equal(queue.size, waiting.size);
          assert.ok(queue.size <= capacity);
        }
        assert.equal(served(queue, 1_000).length, waiting.size);
        assert.equal(queue.size, 0);
      },
    ),
    { numRuns: 300 },
  );
});

test('who comes and goes behind one that waits is not kept', async () => {
  setFlagsFromString('--expose-gc');
  // The flag makes it a global of every context that is made from now on.
  const collect = runInNewContext('gc') as () => void;
  const queue = new FairQueue<Member>();
  fill(queue, 'a', 1);
  const gone = Array.from({ length: 10_000 }, (_, n) => {
    const member = { network: 'a', n };
    queue.push(member, 1, 100);
    queue.remove(member);
    return new WeakRef(member);
  });
  await new Promise<void>((resolve) => setImmediate(resolve));
  collect();
  const kept = gone.filter((each) => each.deref() !== undefined).length;
  assert.ok(kept <= 100, `${kept} are kept`);
  assert.equal(queue.sizeOf('a'), 1);
});
