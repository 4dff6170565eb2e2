import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compilePolicy } from '../../../policy/compile.ts';
import { documentOf, subjectOf } from '../../../policy/test-support.ts';
import { exchangeOf } from '../../http/test-support.ts';
import { MeteredBody } from './metered-body.ts';

/** A body whose bytes another worker is asked about, one answer at a time. */
function metered() {
  const answers: ((isTaken: boolean) => void)[] = [];
  const passed: string[] = [];
  const rates = {
    take: () => new Promise<boolean>((resolve) => void answers.push(resolve)),
  };
  const config =
    'routes: { r: { path: /r/, upstream: "http://127.0.0.1:1", bytesRate: [ { limit: 100/s } ] } }';
  const route = compilePolicy(documentOf(config), 1).proxied('POST', '/r/x', 'd1');
  assert.ok(route !== undefined);
  const { exchange, bytes, refused } = exchangeOf(
    'POST /r/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  const body = new MeteredBody({
    sink: {
      piece: (piece) => {
        passed.push(piece.toString());
        return true;
      },
      complete: () => void passed.push('complete'),
    },
    subject: subjectOf('device', 'd1', 'device', rates),
    route,
    connection: { run: (step) => step(), fault: (error) => assert.fail(String(error)) },
    exchange,
  });
  const answer = async (isTaken: boolean): Promise<void> => {
    answers.shift()?.(isTaken);
    // Until what waits for it has been done.
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { body, answer, passed, refused, resumed: () => bytes.resumed };
}

test('while another worker is asked nothing goes on, and everything in its order after that', async () => {
  const { body, answer, passed, resumed } = metered();
  assert.equal(body.piece(Buffer.from('a')), false);
  // What came with the same read.
  assert.equal(body.piece(Buffer.from('b')), false);
  assert.equal(body.piece(Buffer.from('c')), false);
  body.complete();
  assert.deepEqual(passed, []);
  for (const expected of [['a'], ['a', 'b'], ['a', 'b', 'c', 'complete']]) {
    await answer(true);
    assert.deepEqual(passed, expected);
  }
  assert.equal(resumed(), 0);
});

test('the sender goes on when it has been answered', async () => {
  const { body, answer, passed, resumed } = metered();
  body.piece(Buffer.from('a'));
  await answer(true);
  assert.deepEqual([passed, resumed()], [['a'], 1]);
});

test('too much is the end of the request, whatever waits', async () => {
  const { body, answer, passed, refused } = metered();
  body.piece(Buffer.from('a'));
  body.piece(Buffer.from('b'));
  await answer(false);
  assert.deepEqual([passed, refused], [[], ['rate: over the rate']]);
});
