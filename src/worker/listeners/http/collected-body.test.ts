import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { CollectedBody } from './collected-body.ts';

test('what was collected is what was added, whatever its pieces, and owns its memory', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3_000 }), { maxLength: 20 }), (pieces) => {
      const whole = Buffer.concat(pieces);
      const body = new CollectedBody(whole.length);
      for (const piece of pieces) {
        // As the parser gives them: parts of a buffer that is used again.
        const read = Buffer.alloc(4_096);
        read.set(piece, 7);
        assert.ok(body.add(read.subarray(7, 7 + piece.length)));
        if (body.bytes > piece.length) read.fill(0xff);
      }
      assert.equal(body.bytes, whole.length);
      assert.deepEqual(body.take(), whole);
    }),
  );
});

test('one byte more than the limit does not fit', () => {
  const body = new CollectedBody(10);
  assert.ok(body.add(Buffer.alloc(9)));
  assert.ok(body.add(Buffer.alloc(1)));
  assert.equal(body.add(Buffer.alloc(1)), false);
});

test('a piece that is a whole buffer is not copied, and a part of one is not pinned', () => {
  const whole = Buffer.allocUnsafeSlow(5_000);
  const alone = new CollectedBody(10_000);
  alone.add(whole);
  assert.equal(alone.take().buffer, whole.buffer);
  const part = new CollectedBody(10_000);
  part.add(whole.subarray(0, 10));
  assert.notEqual(part.take().buffer, whole.buffer);
});
