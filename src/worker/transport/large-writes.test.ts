import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fc } from '../../common/base/property-test-support.ts';
import { largeBytes, LargeWrites, pieceBytes } from './large-writes.ts';

/** Takes what it is given when it is told to. */
class SlowReader extends Writable {
  readonly taken: Buffer[] = [];
  #next: (() => void) | undefined;
  eager = false;

  override _write(chunk: Buffer, _: BufferEncoding, callback: () => void): void {
    this.taken.push(chunk);
    if (this.eager) setImmediate(callback);
    else this.#next = callback;
  }

  take(): void {
    const next = this.#next;
    this.#next = undefined;
    next?.();
  }

  get text(): string {
    return Buffer.concat(this.taken).toString('latin1');
  }
}

function setUp() {
  const socket = new SlowReader({ highWaterMark: 16 * 1_024 });
  const hands = { now: 0, drained: 0 };
  const writes = new LargeWrites({
    socket,
    clock: { now: () => hands.now, monotonic: () => hands.now },
    onDrain: () => {
      hands.drained += 1;
    },
  });
  return { socket, writes, hands };
}

const filled = (bytes: number, letter: string): Buffer => Buffer.alloc(bytes, letter);

test('what is large goes in pieces, each when the one before has been taken', async () => {
  const { socket, writes, hands } = setUp();
  assert.equal(writes.write(filled(largeBytes + 10, 'a')), false);
  for (let left = largeBytes + 10; left > 0;) {
    left = Math.max(0, left - pieceBytes);
    assert.equal(writes.pendingBytes, left);
    assert.ok((socket.taken.at(-1)?.length ?? Number.NaN) <= pieceBytes);
    assert.equal(hands.drained, 0);
    socket.take();
    await nextTurn();
  }
  assert.equal(hands.drained, 1);
  assert.equal(socket.text, 'a'.repeat(largeBytes + 10));
});

test('what is small goes at once when nothing waits', () => {
  const { socket, writes } = setUp();
  writes.write(filled(largeBytes, 'a'));
  assert.equal(writes.pendingBytes, 0);
  assert.equal(socket.text, 'a'.repeat(largeBytes));
});

test('a connection that has much to send all the time is not held up', () => {
  const { socket, writes, hands } = setUp();
  socket.eager = true;
  const burst = 200 * 1_024;
  writes.write(filled(burst, 'a'));
  assert.ok(writes.pendingBytes > 0);
  writes.write(filled(burst, 'b'));
  assert.equal(writes.pendingBytes, 0, 'all of it is the socket’s');
  hands.now += 500;
  writes.write(filled(10, 'c'));
  hands.now += 500;
  writes.handOver();
  assert.equal(socket.writableLength, 2 * burst + 10);
});

test('whatever is written when, all of it arrives, in order', async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant('write' as const),
      bytes: fc.integer({ min: 1, max: 90_000 }),
    }),
    fc.record({ do: fc.constantFrom('take', 'wait', 'hand over') }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { socket, writes, hands } = setUp();
      let wanted = '';
      for (const [i, each] of steps.entries()) {
        if ('bytes' in each) {
          const letter = String.fromCodePoint(97 + (i % 26));
          wanted += letter.repeat(each.bytes);
          writes.write(filled(each.bytes, letter));
        } else if (each.do === 'take') socket.take();
        else if (each.do === 'wait') hands.now += 400;
        else writes.handOver();
      }
      while (socket.writableLength + writes.pendingBytes > 0) {
        socket.take();
        await nextTurn();
      }
      assert.equal(socket.text, wanted);
    }),
    { numRuns: 50 },
  );
});

test('when the connection is gone nothing more is written', async () => {
  const { socket, writes, hands } = setUp();
  writes.write(filled(2 * largeBytes, 'a'));
  socket.on('error', () => {});
  socket.destroy(new Error('reset'));
  await nextTurn();
  assert.equal(socket.taken.length, 1);
  assert.equal(hands.drained, 0);
});
