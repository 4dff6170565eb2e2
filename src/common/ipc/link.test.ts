import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { duplexPair } from 'node:stream';
import { test } from 'node:test';
import { frameKinds } from './frames.ts';
import type { Frame } from './frames.ts';
import { Link } from './link.ts';

const limits = { maxFrameBytes: 8 * 1024 * 1024, maxBufferedBytes: 64 * 1024 * 1024 };

test('bodies of every size arrive whole and in order, whichever way they are written', async () => {
  const [here, there] = duplexPair();
  const link = new Link(here, limits);
  const received: Frame[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const bodies = [0, 1, 65_536, 65_537, 3, 4_000_000, 5].map((bytes) => randomBytes(bytes));
  new Link(there, limits).onFrame = (frame) => {
    received.push(frame);
    if (received.length === bodies.length) resolve();
  };
  for (const [seq, body] of bodies.entries()) {
    link.forward({ channel: 7, kind: frameKinds.delta, epoch: 2, seq }, body);
  }
  await promise;
  for (const [seq, body] of bodies.entries()) {
    const { body: came, ...header } = received[seq] ?? { body: Buffer.alloc(0) };
    assert.deepEqual(header, { channel: 7, kind: frameKinds.delta, epoch: 2, seq });
    assert.ok(came.equals(body), `body ${seq} is another`);
  }
});

test('a link whose other end does not read is given up at its bound', () => {
  const [here] = duplexPair();
  const link = new Link(here, { ...limits, maxBufferedBytes: 300_000 });
  let reason: string | undefined;
  link.onClose = (why) => (reason = why);
  for (let n = 0; n < 10 && !link.closed; n += 1) {
    link.forward({ channel: 0, kind: 0, epoch: 0, seq: 0 }, Buffer.alloc(100_000));
  }
  assert.equal(reason, 'the other end does not read');
});
