import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WorkerTable } from './worker-table.ts';

const nowMs = 1_800_000_000_000;
const clock = { now: () => nowMs, monotonic: () => 0 };

function accepted(seen: unknown): Readonly<Record<string, number>> | undefined {
  return new WorkerTable({}, clock).accept(0, { counters: {}, gauges: {}, seen })?.seen;
}

test('only principals and times that are whole numbers are taken, and none that is to come', () => {
  const seen = accepted({
    'device/d1': nowMs - 5,
    'device/future': nowMs + 60_000,
    'device/zero': 0,
    'device/unsafe': 10_000_000_000_000_002,
    'device/fraction': 1.5,
    'device/negative': -1,
    'device/endless': Number.POSITIVE_INFINITY,
    'device/text': '1',
    'device/a b': 1,
    __proto__: 1,
    constructor: 1,
    '': 1,
  });
  assert.deepEqual(
    { ...seen },
    { 'device/d1': nowMs - 5, 'device/future': nowMs, 'device/zero': 0 },
  );
});

test('one report names 5,000 principals at most', () => {
  const many = Object.fromEntries(Array.from({ length: 6_000 }, (_, n) => [`device/d${n}`, 1]));
  assert.equal(Object.keys(accepted(many) ?? {}).length, 5_000);
});

test('what has not the form of a report is none', () => {
  const table = new WorkerTable({}, clock);
  for (const report of [undefined, null, [], 'x', {}, { counters: {}, gauges: {}, seen: [] }]) {
    assert.equal(table.accept(0, report), undefined);
  }
});

test('a worker that ended is gone at once, with its load; its successor in the slot is not', () => {
  const table = new WorkerTable({}, clock);
  table.setMembers([
    { slot: 0, generation: 1, pid: 10 },
    { slot: 1, generation: 2, pid: 11 },
  ]);
  table.accept(0, { counters: {}, gauges: { sallyport_sessions: 5 }, seen: {} });
  table.gone(1, 1);
  assert.equal(table.members.length, 2);
  table.gone(0, 1);
  assert.deepEqual(
    table.members.map(({ slot }) => slot),
    [1],
  );
  assert.deepEqual(table.load(0), { connections: 0, sessions: 0 });
});

test('what the workers do about a spool is summed up, and goes with its worker', () => {
  const table = new WorkerTable({}, clock);
  table.setMembers([0, 1].map((slot) => ({ slot, generation: 1, pid: slot })));
  const gauges = (inFlight: number, open: number) => ({
    'sallyport_spool_in_flight{spool="a/b"}': inFlight,
    'sallyport_backend_breaker{spool="a/b"}': open,
    'sallyport_spool_in_flight{spool="a/c"}': 100,
  });
  table.accept(0, { counters: {}, gauges: gauges(3, 0), seen: {} });
  table.accept(1, { counters: {}, gauges: gauges(4, 1), seen: {} });
  assert.deepEqual(table.spool('a/b'), { inFlight: 7, breakersOpen: 1 });
  table.gone(1, 1);
  assert.deepEqual(table.spool('a/b'), { inFlight: 3, breakersOpen: 0 });
  assert.deepEqual(table.spool('constructor'), { inFlight: 0, breakersOpen: 0 });
});
