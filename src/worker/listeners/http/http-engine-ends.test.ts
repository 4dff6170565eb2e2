import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exchange } from './exchange.ts';
import {
  answer,
  answersIn,
  engineLimits,
  engineOf,
  get,
  post,
  postInChunks,
} from './test-support.ts';
import { headers } from './wire.ts';

const { headersMs, requestMs, idleMs } = engineLimits;

const readOn = (exchange: Exchange): void => exchange.readBody(1_000, () => {});

test('who asks for nothing is told so when its time is over, once', () => {
  const { connection, tick } = engineOf();
  tick(headersMs);
  assert.deepEqual(connection.told, []);
  tick(headersMs + 1);
  tick(2 * headersMs);
  tick(10 * idleMs);
  assert.deepEqual(connection.told, ['unreadable: 408']);
});

test('half a head has its time from its begin, and nothing that comes renews it', () => {
  const { connection, clock, send, tick } = engineOf(answer);
  send(get('/1'));
  clock.time = 20;
  for (const octet of 'GET /2 HT') {
    send(octet);
    tick(clock.time + 1);
  }
  tick(20 + headersMs);
  assert.deepEqual(connection.told, ['GET /1', '/1 stays']);
  send('T');
  tick(21 + headersMs);
  assert.equal(connection.told.length, 3);
  send('P');
  tick(idleMs + requestMs);
  assert.deepEqual(connection.told, ['GET /1', '/1 stays', 'unreadable: 408']);
});

test('empty lines, and halves of them, are no request', () => {
  const first = engineOf();
  for (const half of '\r\n\r\n\r') {
    first.send(half);
    first.tick(first.clock.time + 2);
  }
  first.tick(headersMs + 1);
  assert.deepEqual(first.connection.told, ['unreadable: 408']);

  const between = engineOf(answer);
  between.send(get('/1'));
  for (const half of '\r\n\r\n\r') {
    between.tick(between.clock.time + 5);
    between.send(half);
  }
  between.tick(idleMs);
  assert.deepEqual(between.transport.ends, []);
  between.tick(idleMs + 1);
  assert.deepEqual(between.transport.ends, ['soon']);
  assert.deepEqual(between.connection.told, ['GET /1', '/1 stays']);
});

test('half a body has its time from the begin of its head, and nothing that comes renews it', () => {
  const { connection, transport, send, tick } = engineOf(readOn);
  const head = post('/1', 'ab', 9);
  send(head.slice(0, 5));
  tick(5);
  send(head.slice(5));
  tick(requestMs);
  send('c');
  assert.deepEqual(connection.told, ['POST /1']);
  tick(requestMs + 1);
  tick(10 * requestMs);
  assert.deepEqual(connection.told, ['POST /1', '/1: malformed', '/1 goes']);
  assert.deepEqual(answersIn(transport.text), ['408']);
  assert.deepEqual(transport.ends, ['within 700']);
});

test('so has what is still to come of a body whose answer did not wait for it, and there is no second one', () => {
  for (const isAtOnce of [true, false]) {
    const { connection, transport, clock, send, tick } = engineOf(isAtOnce ? answer : undefined);
    clock.time = 100;
    send(post('/1', '', 4));
    if (!isAtOnce) {
      // That is our time, and not its own.
      clock.time = 1_000;
      answer(connection.exchange);
    }
    const from = clock.time;
    tick(from + requestMs);
    assert.deepEqual(transport.ends, []);
    tick(from + requestMs + 1);
    tick(from + 2 * requestMs);
    assert.deepEqual(connection.told, ['POST /1', '/1 stays', '/1: malformed']);
    assert.deepEqual(transport.ends, ['within 700']);
    assert.deepEqual(answersIn(transport.text), ['200 /1']);
  }
});

test('the time for which we hold a body up is not its peer’s', () => {
  const { connection, clock, send, tick } = engineOf();
  send(post('/1', 'ab', 9));
  tick(100);
  const { exchange } = connection;
  let takes = true;
  exchange.streamBody(10, { piece: () => takes, complete: () => {} });
  tick(110);
  takes = false;
  send('cd');
  tick(500);
  exchange.resumeBody();
  // It has had 10 of its own.
  tick(500 + requestMs - 10);
  assert.deepEqual(connection.told, ['POST /1']);
  clock.time += 1;
  tick(clock.time);
  assert.deepEqual(connection.told, ['POST /1', '/1: malformed', '/1 goes']);
});

test('nor is that of one request any other’s', () => {
  const { connection, clock, send, tick } = engineOf(answer);
  send(post('/1', '', 2));
  clock.time = 20;
  send('ab');
  connection.serve = readOn;
  clock.time = 40;
  send(post('/2', '', 2));
  tick(40 + requestMs);
  assert.deepEqual(connection.told.slice(2), ['POST /2']);
  tick(41 + requestMs);
  assert.deepEqual(connection.told.slice(2), ['POST /2', '/2: malformed', '/2 goes']);
});

test('no limit is for an exchange that is being answered, and from its end on its peer is idle', () => {
  const { connection, transport, send, tick } = engineOf();
  send(get('/1'));
  tick(10 * idleMs);
  assert.deepEqual([connection.told, transport.ends], [['GET /1'], []]);
  answer(connection.exchange);
  tick(11 * idleMs);
  assert.deepEqual(transport.ends, []);
  tick(11 * idleMs + 1);
  assert.deepEqual(transport.ends, ['soon']);
});

test('who is idle is left without a word, once, and not before it has taken its answer for as long', () => {
  const { connection, transport, send, tick } = engineOf(answer);
  transport.takes = false;
  send(get('/1'));
  tick(10 * idleMs);
  transport.drain();
  tick(11 * idleMs);
  assert.deepEqual(transport.ends, []);
  // Nothing of it is renewed by what nobody has waited for.
  transport.drain();
  tick(11 * idleMs + 1);
  assert.deepEqual(transport.ends, ['soon']);
  tick(20 * idleMs);
  assert.deepEqual(transport.ends, ['soon']);
  assert.deepEqual(connection.told, ['GET /1', '/1 stays']);
});

test('what is no request is said once, after the answers to those before it, and is the end of reading', () => {
  for (const [text, status] of [
    ['GET  /2 HTTP/1.1\r\n\r\n', 400],
    ['POST /2 HTTP/1.1\r\nContent-Length: a\r\n\r\n', 400],
    [`GET /2 HTTP/1.1\r\nX: ${'x'.repeat(engineLimits.headerBytes)}`, 431],
  ] as const) {
    const { connection, transport, send, tick } = engineOf();
    send(get('/1') + text + get('/3'));
    assert.deepEqual(connection.told, ['GET /1']);
    answer(connection.exchange);
    assert.deepEqual(connection.told, ['GET /1', '/1 stays', `unreadable: ${status}`]);
    send(get('/4'), ' ');
    tick(10 * idleMs);
    assert.equal(connection.told.length, 3);
    assert.deepEqual(answersIn(transport.text), ['200 /1']);
  }
});

test('a body that cannot be read is refused once, and nothing is read behind it', () => {
  const fine = postInChunks('/1', Array<string>(300).fill('x'));
  for (const [text, code, status] of [
    [`${postInChunks('/1', ['ab'])}z\r\n`, 'malformed', '400'],
    [fine, 'too-large', '413'],
    [`${postInChunks('/1', [])}1${'0'.repeat(300)}`, 'too-large', '413'],
  ] as const) {
    const headEnd = text.indexOf('\r\n\r\n') + 4;
    for (const pieces of [[text.slice(0, headEnd), text.slice(headEnd)], text.split('')]) {
      const { connection, transport, send, tick } = engineOf(readOn);
      send(...pieces, get('/2'));
      tick(10 * requestMs);
      assert.deepEqual(connection.told, ['POST /1', `/1: ${code}`, '/1 goes']);
      assert.deepEqual(answersIn(transport.text), [status]);
      assert.deepEqual(transport.ends, ['within 700']);
    }
  }
});

test('what comes with its head makes the whole of it no request', () => {
  const { connection, transport, send } = engineOf(readOn);
  send(`${postInChunks('/1', ['ab'])}z\r\n${get('/2')}`);
  assert.deepEqual(connection.told, ['unreadable: 400']);
  assert.equal(transport.text, '');
});

test('an answer that has begun is broken off when the body cannot be read', () => {
  const { connection, transport, send } = engineOf((exchange) => {
    exchange.streamBody(10, { piece: () => true, complete: () => assert.fail('complete') });
    exchange.startAnswer(200, ['Content-Length', '4']);
    exchange.writeAnswer(Buffer.from('ab'));
  });
  send(postInChunks('/1', ['ab']), 'z\r\n', get('/2'));
  assert.deepEqual(connection.told, ['POST /1', '/1: malformed', '/1 goes']);
  assert.ok(transport.text.endsWith('\r\n\r\nab'));
  assert.deepEqual(transport.ends, ['soon']);
});

test('a body that cannot be read after its answer is the end, and no second answer', () => {
  for (const isAtOnce of [true, false]) {
    const { connection, transport, send, tick } = engineOf(isAtOnce ? answer : undefined);
    send(postInChunks('/1', ['ab']));
    if (!isAtOnce) answer(connection.exchange);
    send(`z\r\n${get('/2')}`, get('/3'));
    tick(10 * requestMs);
    assert.deepEqual(connection.told, ['POST /1', '/1 stays', '/1: malformed']);
    assert.deepEqual(answersIn(transport.text), ['200 /1']);
    assert.deepEqual(transport.ends, ['within 700']);
  }
});

const upgrade = 'GET /u HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n';

test('a request for another protocol that is not to be had is a request like any other', () => {
  const { connection, transport, send } = engineOf(answer);
  send(upgrade + get('/2'));
  assert.deepEqual(connection.told, ['GET /u', '/u stays', 'GET /2', '/2 stays']);
  assert.deepEqual(answersIn(transport.text), ['200 /u', '200 /2']);
});

test('one with a body is, too: where it ends would be nobody’s to find', () => {
  const { connection, send } = engineOf();
  connection.takesUpgrades = true;
  send(upgrade.replace('Host', 'Content-Length: 2\r\nHost'));
  assert.deepEqual(connection.told, ['GET /u']);
});

test('behind a request for another protocol nothing is read, and all of it is given back in order', () => {
  for (const before of ['', get('/1')]) {
    const { engine, connection, transport, send, tick } = engineOf();
    connection.takesUpgrades = true;
    send(`${before}${upgrade}ab`);
    if (before !== '') answer(connection.exchange);
    assert.equal(transport.paused, true, 'nobody takes it yet');
    send(get('/2'), 'cd');
    tick(10 * idleMs);
    assert.equal(connection.told.at(-1), '/u: upgrade');
    assert.equal(connection.told.includes('GET /2'), false);
    assert.equal(engine.letGo().toString(), `ab${get('/2')}cd`);
    assert.equal(transport.paused, false);
    assert.deepEqual(transport.ends, []);
    assert.equal(engine.letGo().length, 0);
  }
});

test('it can be given back at once', () => {
  const { engine, connection, transport, send } = engineOf();
  connection.takesUpgrades = true;
  const got: string[] = [];
  connection.onUpgrade = () => {
    transport.onData = (chunk) => void got.push(chunk.toString());
    got.push(engine.letGo().toString());
  };
  send(`${upgrade}ab`, 'cd');
  assert.deepEqual(got, ['ab', 'cd']);
  assert.equal(transport.paused, false);
  assert.deepEqual(connection.told, ['/u: upgrade']);
});

test('while nothing has come behind it the transport runs, so that an end is seen', () => {
  const { engine, connection, transport, send } = engineOf();
  connection.takesUpgrades = true;
  transport.takes = false;
  send(get('/1'));
  answer(connection.exchange);
  send(upgrade);
  transport.drain();
  assert.equal(connection.told.at(-1), '/u: upgrade');
  assert.equal(transport.paused, false);
  send(get('/2'));
  assert.equal(connection.told.at(-1), '/u: upgrade');
  assert.equal(engine.letGo().toString(), get('/2'));
});

test('the next request waits until its peer has taken the answer before it', () => {
  for (const records of [[get('/1') + get('/2')], [get('/1'), get('/2')]]) {
    const { connection, transport, send } = engineOf(answer);
    transport.takes = false;
    send(...records);
    assert.deepEqual(connection.told, ['GET /1', '/1 stays']);
    assert.equal(transport.paused, true);
    transport.drain();
    assert.deepEqual(connection.told, ['GET /1', '/1 stays', 'GET /2', '/2 stays']);
    assert.equal(transport.paused, false);
  }
});

test('an exchange is told when its peer has taken what was written, and only while it lasts', () => {
  const { connection, transport, send } = engineOf();
  send(get('/1'));
  const { exchange } = connection;
  let drained = 0;
  exchange.onDrain = () => (drained += 1);
  exchange.startAnswer(200, ['Content-Length', '4']);
  transport.takes = false;
  assert.equal(exchange.writeAnswer(Buffer.from('ab')), false);
  transport.drain();
  assert.equal(drained, 1);
  exchange.endAnswer(Buffer.from('cd'));
  transport.drain();
  assert.equal(drained, 1);
});

test('what is discarded is read all the same, so that an end is seen', () => {
  const { engine, connection, transport, send, tick } = engineOf();
  send(post('/1', '', 4), 'ab');
  assert.equal(transport.paused, true);
  engine.discard();
  assert.equal(transport.paused, false);
  send('cd', get('/2'));
  assert.equal(transport.paused, false);
  const { exchange } = connection;
  exchange.readBody(10, () => assert.fail('discarded'));
  tick(10 * idleMs);
  exchange.answer(200, headers('Content-Length', '0'));
  assert.deepEqual([connection.told, transport.paused], [['POST /1', '/1 stays'], false]);
});

test('a fault in one request is its connection’s, and not thrown at who has answered the one before it', () => {
  const { connection, send } = engineOf();
  const faults: unknown[] = [];
  connection.run = (step) => {
    try {
      step();
    } catch (error) {
      faults.push(error);
    }
  };
  send(get('/1') + get('/2'));
  const { exchange } = connection;
  const fault = new Error('a fault');
  connection.serve = () => {
    throw fault;
  };
  answer(exchange);
  assert.deepEqual(faults, [fault]);
});
