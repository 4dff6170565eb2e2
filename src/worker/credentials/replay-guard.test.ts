import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../common/base/logger.ts';
import { ReplayGuard } from './replay-guard.ts';
import type { Remembered } from './replay-guard.ts';

function world() {
  const hands = { now: 1_000_000, perOwner: 1_000, fails: false };
  const asked: { expiresAt: number; durability: string }[] = [];
  const stored = new Map<string, number>();
  const complaints: object[] = [];
  const clock = { now: () => hands.now, monotonic: () => hands.now };
  const store = {
    putIfAbsent: async (key: Buffer, expiresAt: number, durability: string) => {
      if (hands.fails) throw new TypeError('down');
      const name = key.toString('hex');
      asked.push({ expiresAt, durability });
      if ((stored.get(name) ?? 0) > hands.now) return false;
      stored.set(name, expiresAt);
      return true;
    },
    sweep: async () => 0,
  };
  const guard = (): ReplayGuard =>
    new ReplayGuard({
      store,
      durability: () => 'flushed',
      perOwner: () => hands.perOwner,
      clock,
      logger: { ...silentLogger, error: (fields) => void complaints.push(fields) },
    });
  return { hands, asked, complaints, guard };
}

void test('what is new goes to the store, as durable as configured, and is kept as long as asked', async () => {
  const { asked, guard } = world();
  assert.equal(await guard().remember('device/d1', 'nonce', 120_000), 'new');
  assert.deepEqual(asked, [{ expiresAt: 1_120_000, durability: 'flushed' }]);
  assert.equal(await guard().remember('device/d1', 'nonce', 120_000), 'seen');
});

void test('owners and nonces do not run together', async () => {
  const { guard } = world();
  const one = guard();
  const pairs = [
    ['device/d1', 'nonce'],
    ['device/d', '1nonce'],
    ['device/d1', 'nonc'],
    ['device/d2', 'nonce'],
  ] as const;
  for (const [owner, nonce] of pairs) assert.equal(await one.remember(owner, nonce, 1_000), 'new');
});

void test('what was seen here is refused without the store, and what was not is never called new without it', async () => {
  const { hands, asked, guard } = world();
  const one = guard();
  await one.remember('device/d1', 'nonce', 1_000);
  hands.fails = true;
  assert.equal(one.remember('device/d1', 'nonce', 1_000), 'seen');
  assert.equal(await one.remember('device/d1', 'other', 1_000), 'unable');
  hands.fails = false;
  assert.equal(await one.remember('device/d1', 'other', 1_000), 'new', 'it was not used up');
  assert.equal(asked.length, 2);
});

void test('memory is bounded, and the store knows what was dropped', async () => {
  const { hands, guard } = world();
  hands.perOwner = 100_000;
  const one = guard();
  for (let i = 0; i < 20_000; i += 1) {
    void one.remember(`device/${i}`, 'nonce', 1_000);
    if (i % 1_000 === 0) await Promise.resolve();
  }
  assert.equal(await one.remember('device/19999', 'nonce', 1_000), 'seen');
  assert.equal(await one.remember('device/0', 'nonce', 1_000), 'seen');
});

void test('one owner cannot have more remembered than may be, and others are none the worse', async () => {
  const { hands, guard } = world();
  hands.perOwner = 3;
  const one = guard();
  const said: Remembered[] = [];
  for (const nonce of ['a', 'b', 'c', 'd', 'a']) {
    said.push(await one.remember('device/d1', nonce, 1_000));
  }
  assert.deepEqual(said, ['new', 'new', 'new', 'full', 'seen']);
  assert.equal(await one.remember('device/d2', 'a', 1_000), 'new');
  hands.now += 1_000;
  assert.equal(await one.remember('device/d1', 'd', 1_000), 'new');
});

void test('a store that is down is told of, and not for each message', async () => {
  const { hands, complaints, guard } = world();
  hands.fails = true;
  const one = guard();
  for (const nonce of ['a', 'b', 'c']) await one.remember('device/d1', nonce, 1_000);
  assert.deepEqual(complaints, [{ err: 'down' }]);
  hands.now += 10_000;
  await one.remember('device/d1', 'd', 1_000);
  assert.equal(complaints.length, 2);
});
