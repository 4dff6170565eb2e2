import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stall } from './stall.ts';

test('time counts while something is pending and nothing of it is taken', () => {
  const stall = new Stall();
  assert.equal(stall.look({ pendingBytes: 0, takenBytes: 7 }, 1_000), 0);
  assert.equal(stall.look({ pendingBytes: 5, takenBytes: 7 }, 2_000), 0);
  assert.equal(stall.look({ pendingBytes: 5, takenBytes: 7 }, 3_000), 1_000);
  assert.equal(stall.look({ pendingBytes: 9, takenBytes: 7 }, 5_000), 3_000);
  assert.equal(stall.look({ pendingBytes: 8, takenBytes: 8 }, 6_000), 0);
  assert.equal(stall.look({ pendingBytes: 8, takenBytes: 8 }, 7_000), 1_000);
  assert.equal(stall.look({ pendingBytes: 0, takenBytes: 16 }, 8_000), 0);
  assert.equal(stall.look({ pendingBytes: 1, takenBytes: 16 }, 9_000), 0);
});

test('a peer that takes as much as is written is never stalled, however much is pending each time', () => {
  const stall = new Stall();
  for (let second = 0; second < 100; second += 1) {
    const takenBytes = second * 65_536;
    assert.equal(stall.look({ pendingBytes: 65_536, takenBytes }, second * 1_000), 0);
  }
});
