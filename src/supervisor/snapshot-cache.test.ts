import assert from 'node:assert/strict';
import { test } from 'node:test';
import { channels, frameKinds } from '../common/ipc/frames.ts';
import { SnapshotCache } from './snapshot-cache.ts';

function frame(kind: number, seq: number, body: string | Buffer = `body ${seq}`) {
  return { channel: channels.broadcast, kind, epoch: 1, seq, body: Buffer.from(body) };
}

function seqs(cache: SnapshotCache): number[] {
  return cache.frames().map(({ seq }) => seq);
}

test('a worker that starts later gets the last snapshot, every delta since and the last confirmation', () => {
  const cache = new SnapshotCache();
  cache.keep(frame(frameKinds.snapshot, 1));
  cache.keep(frame(frameKinds.delta, 2));
  cache.keep(frame(frameKinds.current, 2));
  cache.keep(frame(frameKinds.delta, 3));
  cache.keep(frame(frameKinds.current, 3, 'latest'));
  assert.deepEqual(seqs(cache), [1, 2, 3, 3]);
  assert.equal(cache.frames().at(-1)?.body.toString(), 'latest');
});

test('a new snapshot replaces all that went before it', () => {
  const cache = new SnapshotCache();
  cache.keep(frame(frameKinds.snapshot, 1));
  cache.keep(frame(frameKinds.delta, 2));
  cache.keep(frame(frameKinds.snapshot, 3));
  assert.deepEqual(seqs(cache), [3]);
});

test('without a snapshot there is nothing to hand out', () => {
  const cache = new SnapshotCache();
  cache.keep(frame(frameKinds.delta, 2));
  assert.deepEqual(seqs(cache), []);
});

test('a fresh snapshot is asked for when the deltas outgrow the last one', () => {
  const cache = new SnapshotCache();
  cache.keep(frame(frameKinds.snapshot, 1));
  const half = Buffer.alloc(600 * 1024);
  assert.equal(cache.keep(frame(frameKinds.delta, 2, half)), false);
  assert.equal(cache.keep(frame(frameKinds.delta, 3, half)), true);
});

test('a kept body does not change with the read buffer that it came in', () => {
  const cache = new SnapshotCache();
  const kept = frame(frameKinds.snapshot, 1, 'before');
  cache.keep(kept);
  kept.body.write('AFTER!');
  assert.equal(cache.frames()[0]?.body.toString(), 'before');
});
