import assert from 'node:assert/strict';
import { test } from 'node:test';
import { principalName } from '../../common/base/principal.ts';
import { laneOf, laneRanges, ownerOf, partitionOf, partitions } from './partition.ts';

test('any number of lanes covers each partition once, and each partition knows its lane', () => {
  for (let lanes = 1; lanes <= partitions; lanes += 1) {
    const ranges = laneRanges(lanes);
    assert.equal(ranges[0]?.from, 0);
    assert.equal(ranges.at(-1)?.to, partitions);
    for (const [lane, { from, to }] of ranges.entries()) {
      assert.ok(from < to, `lane ${lane} of ${lanes} is empty`);
      if (lane > 0) assert.equal(from, ranges[lane - 1]?.to);
      assert.equal(laneOf(from, lanes), lane);
      assert.equal(laneOf(to - 1, lanes), lane);
    }
  }
});

test('lanes are shared out evenly, and with nobody there is no owner', () => {
  for (const slots of [[0], [0, 1], [3, 5, 9]]) {
    const owned = new Map<number | undefined, number>();
    for (let lane = 0; lane < 8; lane += 1) {
      const owner = ownerOf('telemetry/backend', lane, slots);
      owned.set(owner, (owned.get(owner) ?? 0) + 1);
    }
    assert.deepEqual(new Set(owned.keys()), new Set(slots));
    for (const lanes of owned.values()) {
      assert.ok(lanes >= Math.floor(8 / slots.length) && lanes <= Math.ceil(8 / slots.length));
    }
  }
  assert.equal(ownerOf('telemetry/backend', 0, []), undefined);
});

test('devices are spread over the partitions, and stay where they are', () => {
  const used = new Map<number, number>();
  for (let i = 0; i < 25_600; i += 1) {
    const partition = partitionOf(principalName('device', `sensor-${i}`));
    used.set(partition, (used.get(partition) ?? 0) + 1);
  }
  assert.equal(used.size, partitions);
  assert.ok(Math.max(...used.values()) < 200 && Math.min(...used.values()) > 40);
  // What lies on disk was put there with these.
  assert.equal(partitionOf(principalName('device', 'd1')), 198);
});
