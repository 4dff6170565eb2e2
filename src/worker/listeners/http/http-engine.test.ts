import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import type { BodySink, Exchange } from './exchange.ts';
import { answer, answersIn, engineOf, get, post, postInChunks } from './test-support.ts';

const aheadBytes = 32_768;
const unreadBytes = 65_536;
const lastChunk = '0\r\n\r\n';

/** Keeps the pieces; takes each, or none after it. */
function sinkOf(takes: boolean): BodySink & { readonly got: string[] } {
  const got: string[] = [];
  return {
    got,
    piece: (piece) => {
      got.push(piece.toString('latin1'));
      return takes;
    },
    complete: () => void got.push('complete'),
  };
}

function readAndAnswer(bodies: string[]): (exchange: Exchange) => void {
  return (exchange) =>
    exchange.readBody(1_000, (body) => {
      bodies.push(body.toString('latin1'));
      answer(exchange);
    });
}

const three = get('/1') + post('/2', 'two') + postInChunks('/3', ['thr', 'ee']) + lastChunk;
const answersOfThree = ['200 /1', '200 /2', '200 /3'];
const toldOfThree = ['GET /1', '/1 stays', 'POST /2', '/2 stays', 'POST /3', '/3 stays'];

test('requests that come at once are received one at a time and in order, wherever they are cut', () => {
  for (let at = 0; at <= three.length; at += 1) {
    const bodies: string[] = [];
    const { connection, transport, send } = engineOf(readAndAnswer(bodies));
    send(three.slice(0, at), three.slice(at));
    assert.deepEqual(connection.told, toldOfThree, `cut at ${at}`);
    assert.deepEqual(bodies, ['', 'two', 'three']);
    assert.deepEqual(answersIn(transport.text), answersOfThree);
  }
  const bodies: string[] = [];
  const { connection, transport, send } = engineOf(readAndAnswer(bodies));
  send(...three.split(''));
  assert.deepEqual(connection.told, toldOfThree);
  assert.deepEqual(bodies, ['', 'two', 'three']);
  assert.deepEqual(answersIn(transport.text), answersOfThree);
});

test('a request is not received before the one before it is answered, however late that is', () => {
  for (const records of [[three], three.split('')]) {
    const bodies: string[] = [];
    const { connection, transport, send } = engineOf((exchange) =>
      exchange.readBody(1_000, (body) => void bodies.push(body.toString('latin1'))),
    );
    send(...records);
    for (const [i, target] of ['/1', '/2', '/3'].entries()) {
      assert.equal(connection.exchanges.length, i + 1);
      assert.equal(connection.exchange.request.target, target);
      answer(connection.exchange);
    }
    assert.deepEqual(bodies, ['', 'two', 'three']);
    assert.deepEqual(connection.told, toldOfThree);
    assert.deepEqual(answersIn(transport.text), answersOfThree);
  }
});

const anyRequest = fc.record({
  kind: fc.constantFrom('get', 'length', 'chunked'),
  pieces: fc.array(fc.string({ minLength: 1, maxLength: 60 }), { maxLength: 4 }),
  reads: fc.constantFrom('whole', 'stream', 'slowly', 'not'),
  ticksToRead: fc.nat(3),
  ticksToAnswer: fc.nat(3),
  /** Ticks until its peer has taken the answer. */
  isSlow: fc.boolean(),
});

test('every request is received once and in order, its body whole, and answered in order, however it comes', () => {
  const property = fc.property(
    fc.array(anyRequest, { minLength: 1, maxLength: 6 }),
    fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 }),
    (requests, cuts) => {
      let now = 0;
      let later: { readonly at: number; readonly step: () => void }[] = [];
      const after = (ticks: number, step: () => void): void => {
        if (ticks === 0) step();
        else later.push({ at: now + ticks, step });
      };
      const received: string[] = [];
      const bodies: string[] = [];
      const world = engineOf((exchange) => {
        const asked = requests[received.length];
        received.push(exchange.request.target);
        assert.ok(asked !== undefined, 'no more than were sent');
        const finish = (body: string): void => {
          bodies.push(body);
          after(asked.ticksToAnswer, () => {
            if (asked.isSlow) {
              world.transport.takes = false;
              after(2, () => world.transport.drain());
            }
            answer(exchange);
          });
        };
        after(asked.ticksToRead, () => {
          if (asked.reads === 'not') finish('');
          else if (asked.reads === 'whole') {
            exchange.readBody(1_000, (body) => finish(body.toString('latin1')));
          } else {
            let body = '';
            const piece = (bytes: Buffer): boolean => {
              body += bytes.toString('latin1');
              if (asked.reads === 'slowly') after(1, () => exchange.resumeBody());
              return asked.reads !== 'slowly';
            };
            exchange.streamBody(1_000, { piece, complete: () => finish(body) });
          }
        });
      });
      const { engine, transport, connection } = world;
      const texts = requests.map(({ kind, pieces }, i) => {
        if (kind === 'get') return get(`/${i}`);
        if (kind === 'length') return post(`/${i}`, pieces.join(''));
        return postInChunks(`/${i}`, pieces) + lastChunk;
      });
      const bytes = Buffer.from(texts.join(''), 'latin1');
      for (let at = 0, cut = 0; at < bytes.length || later.length > 0; now += 1) {
        if (at < bytes.length && !transport.paused) {
          const size = cuts[cut % cuts.length] ?? 1;
          transport.onData(Buffer.from(bytes.subarray(at, at + size)));
          at += size;
          cut += 1;
        } else {
          assert.ok(later.length > 0, 'it would wait for ever');
        }
        const isWaiting = engine.bodyComplete && connection.exchanges.at(-1)?.over === false;
        assert.ok(!isWaiting || !transport.paused, 'an end would not be seen');
        const due = later.filter((each) => each.at <= now);
        later = later.filter((each) => each.at > now);
        for (const { step } of due) step();
      }
      const targets = requests.map((_, i) => `/${i}`);
      assert.deepEqual(received, targets);
      assert.deepEqual(
        bodies,
        requests.map(({ kind, pieces, reads }) =>
          kind === 'get' || reads === 'not' ? '' : pieces.join(''),
        ),
      );
      assert.deepEqual(
        answersIn(transport.text),
        targets.map((target) => `200 ${target}`),
      );
      assert.equal(transport.paused, false);
      assert.deepEqual(transport.ends, []);
    },
  );
  fc.assert(property, { numRuns: 300 });
});

test('what is sent ahead waits up to its bound; beyond it that is said once, and nothing more is read', () => {
  const { connection, transport, send } = engineOf();
  const ahead = get('/2') + post('/3', '', aheadBytes);
  send(get('/1'), ahead.padEnd(aheadBytes - 1, 'x'), 'x');
  assert.deepEqual(connection.told, ['GET /1']);
  send('x');
  assert.deepEqual(connection.told, ['GET /1', '/1: sent ahead']);
  send('x'.repeat(aheadBytes), 'x', get('/4'));
  assert.equal(transport.paused, false);
  answer(connection.exchange);
  send(get('/5'));
  assert.deepEqual(connection.told, ['GET /1', '/1: sent ahead', '/1 stays']);
  assert.deepEqual(answersIn(transport.text), ['200 /1']);
});

test('what has waited up to its bound is read when it is its turn', () => {
  const { connection, send } = engineOf();
  const body = 'x'.repeat(aheadBytes - post('/2', '', 32_000).length);
  send(get('/1') + post('/2', body));
  answer(connection.exchange);
  let read = 0;
  connection.exchange.readBody(aheadBytes, (bytes) => (read = bytes.length));
  assert.equal(read, body.length);
});

test('while an answer is waited for the transport runs, so that an end is seen', () => {
  const { connection, transport, send } = engineOf();
  send(get('/1'), get('/2'));
  assert.equal(transport.paused, false);
  answer(connection.exchange);
  assert.equal(transport.paused, false);

  // It had been paused before, for its body: for somebody to ask for it, or to go on with it.
  for (const rest of ['cd', `cd${get('/2')}`]) {
    const late = engineOf();
    late.send(post('/1', 'ab', 4), rest);
    assert.equal(late.transport.paused, true);
    late.connection.exchange.readBody(10, () => {});
    assert.equal(late.transport.paused, false, 'asked for');

    const slow = engineOf((exchange) => exchange.streamBody(10, sinkOf(false)));
    slow.send(post('/1', 'ab', 4), rest);
    assert.equal(slow.transport.paused, true);
    slow.connection.exchange.resumeBody();
    assert.equal(slow.transport.paused, false, 'gone on with');
  }
});

test('nor does it stay paused when the answer before had to be taken first', () => {
  const { connection, transport, send } = engineOf();
  transport.takes = false;
  send(get('/1'));
  answer(connection.exchange);
  send(get('/2'));
  assert.equal(transport.paused, true);
  transport.drain();
  assert.equal(connection.exchange.request.target, '/2');
  assert.equal(transport.paused, false);
});

test('a body that nobody has asked for yet waits, and is given when somebody does', () => {
  const { engine, connection, transport, send } = engineOf();
  send(post('/1', '', 6));
  assert.equal(transport.paused, false);
  send('abc');
  assert.equal(transport.paused, true);
  // What was under way already.
  send('def', get('/2'));
  assert.equal(engine.bodyComplete, false);
  const { exchange } = connection;
  const sink = sinkOf(true);
  exchange.streamBody(10, sink);
  assert.equal(engine.bodyComplete, true);
  assert.deepEqual(sink.got, ['abcdef', 'complete']);
  answer(exchange);
  assert.deepEqual(connection.told, ['POST /1', '/1 stays', 'GET /2']);
});

test('whoever takes a body can hold it up, and it goes on exactly where it was', () => {
  const body = 'abcdefghij';
  for (const inChunks of [false, true]) {
    const text = inChunks ? postInChunks('/1', body.split('')) + lastChunk : post('/1', body);
    const sink = sinkOf(false);
    const { connection, transport, send } = engineOf((exchange) => exchange.streamBody(10, sink));
    let paused = 0;
    for (const octet of text + get('/2')) {
      send(octet);
      if (!transport.paused) continue;
      paused += 1;
      // For what has come, and for more.
      connection.exchange.resumeBody();
      connection.exchange.resumeBody();
      assert.equal(transport.paused, false);
    }
    assert.equal(sink.got.join(''), `${body}complete`);
    assert.ok(paused >= body.length / 2 - 1, `${paused} times`);
    answer(connection.exchange);
    assert.equal(connection.exchange.request.target, '/2');
  }
});

test('a body that is held up is not read on, however much of it comes', () => {
  const sink = sinkOf(false);
  const { connection, transport, send } = engineOf((exchange) => exchange.streamBody(10, sink));
  send(post('/1', 'ab', 6));
  send('cd', 'e');
  assert.deepEqual([sink.got, transport.paused], [['ab'], true]);
  connection.exchange.resumeBody();
  assert.deepEqual([sink.got, transport.paused], [['ab', 'cde'], true]);
  connection.exchange.resumeBody();
  assert.equal(transport.paused, false);
  send('f');
  assert.deepEqual(sink.got, ['ab', 'cde', 'f', 'complete']);
});

test('what is said of the body of an exchange that is over does not hold up the next one', () => {
  const sink = sinkOf(true);
  const { connection, clock, send, tick } = engineOf();
  const answersEarly = (exchange: Exchange): BodySink => ({
    piece: () => {
      answer(exchange);
      return false;
    },
    complete: () => assert.fail('over'),
  });
  // Asked for late, so that the next request begins while `take` is being called.
  send(post('/1', 'ab') + post('/2', 'cd', 6));
  connection.serve = (exchange) => exchange.streamBody(10, sink);
  clock.time = 5;
  connection.exchange.streamBody(10, answersEarly(connection.exchange));
  send('ef', 'gh');
  assert.deepEqual(sink.got, ['cd', 'ef', 'gh', 'complete']);
  // Asked for at once: the rest of its own body, and the time it has for that.
  answer(connection.exchange);
  connection.serve = (exchange) => exchange.streamBody(10, answersEarly(exchange));
  send(post('/3', 'ab', 4));
  tick(36);
  assert.deepEqual(connection.told.slice(-3), ['POST /3', '/3 stays', '/3: malformed']);
});

test('of a request that is answered before its body the rest is thrown away, and the next one read', () => {
  const rests = [
    [post('/1', 'a', 5), 'bcde'],
    [postInChunks('/1', ['ab']), `3\r\ncde\r\n${lastChunk}`],
  ] as const;
  for (const [head, rest] of rests) {
    for (const records of [[head + rest + get('/2')], [head, rest + get('/2')]]) {
      const atOnce = engineOf(answer);
      atOnce.send(...records);
      assert.deepEqual(answersIn(atOnce.transport.text), ['200 /1', '200 /2']);
      const late = engineOf();
      late.send(...records);
      answer(late.connection.exchange);
      answer(late.connection.exchange);
      assert.deepEqual(answersIn(late.transport.text), ['200 /1', '200 /2']);
      assert.equal(late.transport.paused, false);
    }
  }
});

test('when that goes on beyond its bound the connection ends, without a second answer', () => {
  const { connection, transport, send } = engineOf(answer);
  const half = 'x'.repeat(unreadBytes / 2);
  send(post('/1', '', 2 * unreadBytes), half, half);
  assert.deepEqual([connection.told, transport.ends], [['POST /1', '/1 stays'], []]);
  send('x', half, half);
  assert.deepEqual(connection.told, ['POST /1', '/1 stays', '/1: too-large']);
  assert.deepEqual(transport.ends, ['within 700']);
  assert.deepEqual(answersIn(transport.text), ['200 /1']);
});

test('after a refusal the body is read to its end, whatever it is, and then the connection ends', () => {
  const refuse = (exchange: Exchange): void => exchange.refuse('forbidden', 'why');
  for (const isAtOnce of [true, false]) {
    const { connection, transport, send } = engineOf(isAtOnce ? refuse : undefined);
    send(post('/1', 'x', 2 * unreadBytes + 2));
    if (!isAtOnce) refuse(connection.exchange);
    send('x'.repeat(unreadBytes), 'x'.repeat(unreadBytes));
    assert.deepEqual(transport.ends, []);
    assert.equal(transport.paused, false);
    send(`x${get('/2')}`, get('/3'));
    assert.deepEqual(transport.ends, ['soon']);
    assert.deepEqual(connection.told, ['POST /1', '/1: forbidden', '/1 goes']);
    assert.deepEqual(answersIn(transport.text), ['403']);
  }
});

test('behind the last answer nothing is looked at, however much of it comes', () => {
  const { connection, transport, send } = engineOf(answer);
  const last = get('/1').replace('Host', 'Connection: close\r\nHost');
  send(last + get('/2').repeat(aheadBytes / 8), get('/3'));
  assert.deepEqual(connection.told, ['GET /1', '/1 closes']);
  assert.deepEqual(transport.ends, ['soon']);
});

const expects = 'Expect: 100-continue\r\n';

test('who waits to be told to go on is told once, when the body is wanted', () => {
  const bodies: string[] = [];
  const { connection, transport, send } = engineOf();
  send(post('/1', '', 4, expects));
  assert.equal(transport.text, '');
  readAndAnswer(bodies)(connection.exchange);
  assert.equal(transport.text, 'HTTP/1.1 100 Continue\r\n\r\n');
  send('ab', 'cd', get('/2'));
  assert.deepEqual(bodies, ['abcd']);
  assert.deepEqual(answersIn(transport.text), ['100', '200 /1']);
  assert.equal(connection.exchange.request.target, '/2');
});

test('who is refused without being told to go on sends no body, and the connection ends at once', () => {
  for (const say of [answer, (exchange: Exchange) => exchange.refuse('forbidden', 'why')]) {
    const { connection, transport, send } = engineOf();
    send(post('/1', '', 4, expects));
    say(connection.exchange);
    assert.deepEqual(transport.ends, ['soon']);
    send(get('/2'));
    assert.equal(connection.exchanges.length, 1);
    assert.equal(answersIn(transport.text).length, 1);
  }
});

test('who is refused after it was told to go on is read to the end of its body', () => {
  const { connection, transport, send } = engineOf((exchange) => exchange.readBody(3, () => {}));
  send(post('/1', '', 6, expects), 'abcd');
  assert.deepEqual(answersIn(transport.text), ['100', '413']);
  assert.deepEqual(transport.ends, []);
  send('ef');
  assert.deepEqual(transport.ends, ['soon']);
  assert.deepEqual(connection.told, ['POST /1', '/1: too-large', '/1 goes']);
});

test('so is who was told to go on, and has not begun to', () => {
  const { connection, transport, send } = engineOf((exchange) => exchange.readBody(9, () => {}));
  send(post('/1', '', 4, expects));
  connection.exchange.refuse('forbidden', 'why');
  assert.deepEqual(transport.ends, []);
  send('abcd');
  assert.deepEqual(transport.ends, ['soon']);
  assert.deepEqual(answersIn(transport.text), ['100', '403']);
});

test('who does not wait to be told is not told, and is read to the end of its body when it is refused', () => {
  for (const records of [
    [post('/1', 'ab', 4, expects)],
    [post('/1', '', 4, expects), 'ab'],
    [postInChunks('/1', ['ab'], expects)],
    [postInChunks('/1', [], expects), '2\r\nab\r\n'],
  ]) {
    const rest = records.some((record) => record.includes('chunked')) ? lastChunk : 'cd';
    const taken = engineOf();
    taken.send(...records);
    readAndAnswer([])(taken.connection.exchange);
    taken.send(rest);
    assert.deepEqual(answersIn(taken.transport.text), ['200 /1']);

    const refused = engineOf();
    refused.send(...records);
    refused.connection.exchange.refuse('forbidden', 'why');
    assert.deepEqual(refused.transport.ends, []);
    refused.send(rest);
    assert.deepEqual(refused.transport.ends, ['soon']);
    assert.deepEqual(answersIn(refused.transport.text), ['403']);
  }
});

test('nobody is told to go on whose body is empty, or who speaks an older version', () => {
  for (const head of [
    post('/1', '', 0, expects),
    post('/1', '', 4, expects).replace('HTTP/1.1', 'HTTP/1.0'),
  ]) {
    const { transport, send } = engineOf((exchange) => exchange.readBody(10, () => {}));
    send(head);
    assert.equal(transport.text, '');
  }
});

test('the body of an exchange that is over is nobody’s, and the next exchange is not disturbed', () => {
  const { connection, transport, send } = engineOf();
  send(get('/1') + post('/2', 'ab', 4));
  const { exchange } = connection;
  const sink = sinkOf(false);
  connection.serve = (next) => next.streamBody(10, sink);
  answer(exchange);
  exchange.readBody(10, () => assert.fail('over'));
  exchange.streamBody(10, {
    piece: () => assert.fail('over'),
    complete: () => assert.fail('over'),
  });
  send('cd');
  exchange.resumeBody();
  assert.deepEqual([sink.got, transport.paused], [['ab'], true]);
  assert.deepEqual(answersIn(transport.text), ['200 /1']);
});

test('a body that was read before is passed on, and its end too unless the exchange is over by then', () => {
  for (const [isOver, expected] of [
    [false, ['ab', 'complete']],
    [true, ['ab']],
  ] as const) {
    const got: string[] = [];
    const { connection, send } = engineOf();
    send(post('/1', 'ab'));
    const { exchange } = connection;
    exchange.giveBody(Buffer.from('ab'));
    const piece = (bytes: Buffer): boolean => {
      got.push(bytes.toString());
      if (isOver) answer(exchange);
      return true;
    };
    exchange.streamBody(10, { piece, complete: () => void got.push('complete') });
    assert.deepEqual(got, expected);
  }
});
