import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, messageTo, PeeringGroup } from './peering-group.ts';

const crossingOf = (group: PeeringGroup, slot: number) => group.worker(slot).peering.crossing;

test('once interest has settled, what is published on another worker arrives, in order', async () => {
  await using group = await PeeringGroup.of(0, 1, 2);
  const [zero, one] = [crossingOf(group, 0), crossingOf(group, 1)];
  zero.addInterest('devices/+/telemetry');
  await zero.interestSettled();
  const topics = Array.from({ length: 2_000 }, (_, i) => `devices/d${i}/telemetry`);
  for (const topic of topics) {
    assert.deepEqual(one.wanting(topic), [0]);
    one.send([0], messageTo(topic));
  }
  assert.deepEqual(one.wanting('devices/d1/status'), []);
  assert.deepEqual(zero.wanting('devices/d1/telemetry'), [], 'nobody wants it of oneself');
  await eventually('all arrived', () => group.worker(0).received.length === topics.length);
  assert.deepEqual(group.worker(0).received, topics);
  assert.deepEqual(group.worker(2).received, []);
});

test('interest ends with its last holder', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const [zero, one] = [crossingOf(group, 0), crossingOf(group, 1)];
  zero.addInterest('a/#');
  zero.addInterest('a/#');
  zero.dropInterest('a/#');
  await zero.interestSettled();
  assert.deepEqual(one.wanting('a/b'), [0]);
  zero.dropInterest('a/#');
  zero.dropInterest('a/#');
  zero.addInterest('b');
  zero.dropInterest('b');
  zero.addInterest('c');
  await zero.interestSettled();
  assert.deepEqual(one.wanting('a/b'), []);
  assert.deepEqual(one.wanting('b'), []);
  assert.deepEqual(one.wanting('c'), [0]);
});

test('a worker that comes later hears of all interest, and one that goes is forgotten', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const filters = Array.from({ length: 1_203 }, (_, i) => `devices/d${i}/commands/#`);
  for (const filter of filters) crossingOf(group, 0).addInterest(filter);
  crossingOf(group, 1).addInterest('x');
  await group.start(2);
  group.announce();
  await Promise.all(group.workers.map(({ peering }) => peering.crossing.interestSettled()));
  for (const i of [0, 499, 500, 1_202]) {
    assert.deepEqual(crossingOf(group, 2).wanting(`devices/d${i}/commands/go`), [0]);
  }
  crossingOf(group, 2).addInterest('x');
  await crossingOf(group, 2).interestSettled();
  assert.deepEqual(new Set(crossingOf(group, 0).wanting('x')), new Set([1, 2]));
  await group.kill(1);
  await eventually('forgotten', () => crossingOf(group, 0).wanting('x').length === 1);
  assert.deepEqual(crossingOf(group, 0).wanting('x'), [2]);
});

test('with no peer alive there is nothing to wait for; a peer that has ended stops the waiting', async () => {
  await using group = await PeeringGroup.of(0);
  crossingOf(group, 0).addInterest('a');
  await crossingOf(group, 0).interestSettled();
  await group.start(1);
  group.announce();
  await crossingOf(group, 0).interestSettled();
  await group.kill(1);
  crossingOf(group, 0).addInterest('b');
  const settled = crossingOf(group, 0).interestSettled();
  group.announce();
  await settled;
});

test('a member that never answers delays for a second at most', { timeout: 120_000 }, async () => {
  await using group = await PeeringGroup.of(0);
  const absent = { slot: 5, generation: 99, pid: 1 };
  group.worker(0).peering.setMembers([group.worker(0).member, absent]);
  crossingOf(group, 0).addInterest('a');
  const started = performance.now();
  await crossingOf(group, 0).interestSettled();
  const tookMs = performance.now() - started;
  assert.ok(tookMs > 900, `${tookMs} ms`);
});

test('large messages cross whole; one beyond the bound is dropped and counted, the link lives', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const [zero, one] = [crossingOf(group, 0), crossingOf(group, 1)];
  zero.addInterest('#');
  await zero.interestSettled();
  one.send([0], { ...messageTo('huge'), payload: Buffer.alloc(64 * 1024 * 1024) });
  assert.equal(one.dropped, 1);
  one.send([0], { ...messageTo('large'), payload: Buffer.alloc(5 * 1024 * 1024) });
  one.send([0], messageTo('small'));
  await eventually('both arrived', () => group.worker(0).received.length === 2);
  assert.deepEqual(group.worker(0).received, ['large', 'small']);
});

test('filters of the greatest length are announced in words that fit', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const long = '\u0001'.repeat(65_000);
  for (let i = 0; i < 180; i += 1) crossingOf(group, 0).addInterest(`${i}/${long}`);
  const last = `179/${long}`;
  await eventually('all are known', () => crossingOf(group, 1).wanting(last).length === 1);
  assert.equal(group.worker(0).peering.peers.linked.size, 1);
});

test('what is no interest and no member ends the link, which is made anew', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const { peers, crossing } = group.worker(0).peering;
  crossing.addInterest('a');
  crossing.addMember('$share/g/a', 'service/be s');
  const joined: unknown[] = [];
  crossingOf(group, 1).onMember = (...member) => joined.push(member);
  await crossing.interestSettled();
  assert.deepEqual(joined.splice(0), [[0, '$share/g/a', 'service/be s', true]]);
  const garbage: [string, object][] = [
    ['interest', {}],
    ['interest', { reset: false, add: ['a/#/b'], drop: [] }],
    ['interest', { reset: false, add: [], drop: [7] }],
    ['interest', { reset: false, add: Array.from({ length: 501 }, () => 'a'), drop: [] }],
    ['members', {}],
    ['members', { changes: [['$share/g', 'service/be s', true]] }],
    ['members', { changes: [['$share/+/a', 'service/be s', true]] }],
    ['members', { changes: [['a', 'service/be s', true]] }],
    ['members', { changes: [['$share/g/a', 'nobody', true]] }],
    ['members', { changes: [['$share/g/a', 'service/be s']] }],
    ['members', { changes: [['$share/g/a', 'service/be s', 1]] }],
  ];
  for (const [type, word] of garbage) {
    let reply: unknown = 'none yet';
    peers.call(1, type, word, 5_000, (got) => {
      reply = got;
    });
    await eventually('cut', () => reply === undefined);
    assert.deepEqual(joined.splice(0), [[0, '$share/g/a', 'service/be s', false]]);
    await eventually('told again', () => joined.length === 1);
    assert.deepEqual(joined.splice(0), [[0, '$share/g/a', 'service/be s', true]]);
    assert.deepEqual(crossingOf(group, 1).wanting('a'), [0]);
  }
});

test('both ends of a link are told when it breaks and when it stands again', async () => {
  await using group = await PeeringGroup.of(0, 1);
  const gaps = [0, 0];
  for (const slot of [0, 1]) {
    crossingOf(group, slot).onGap = () => {
      gaps[slot] = (gaps[slot] ?? 0) + 1;
    };
  }
  group.worker(0).peering.peers.cut(1, 'for the test');
  await eventually('down and up', () => gaps.every((count) => count === 2));
});

test(
  'whoever was waited for in vain may have sent something past us',
  { timeout: 120_000 },
  async () => {
    await using group = await PeeringGroup.of(0, 1);
    let late: (() => void) | undefined;
    const slow = { type: 'slow', news: () => [], whole: () => [], forget: () => {} };
    crossingOf(group, 1).announce({
      ...slow,
      heard: () => new Promise<boolean>((resolve) => (late = () => resolve(true))),
    });
    const words = [{}];
    const { changed } = crossingOf(group, 0).announce({
      ...slow,
      news: () => words.splice(0),
      heard: () => true,
    });
    let gaps = 0;
    crossingOf(group, 0).onGap = () => {
      gaps += 1;
    };
    changed();
    await crossingOf(group, 0).interestSettled();
    assert.equal(gaps, 0);
    crossingOf(group, 0).addInterest('a');
    await eventually('interest overtakes', () => crossingOf(group, 1).wanting('a').length === 1);
    assert.equal(gaps, 0, 'not all of it was heard');
    late?.();
    await eventually('told', () => gaps === 1);
  },
);
