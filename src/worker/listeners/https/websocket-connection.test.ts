import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  clientFrame,
  closePayload,
  opcode,
  ServerFrameReader,
} from '../../../../test/harness/websocket-bytes.ts';
import type { ServerFrame } from '../../../../test/harness/websocket-bytes.ts';
import { FakeTransport } from '../mqtt/fake-transport.ts';
import { WebSocketConnection } from './websocket-connection.ts';

const framesPerSecond = 10;

function open() {
  const transport = new FakeTransport();
  const refusals: string[] = [];
  const clock = { time: 0, now: () => clock.time, monotonic: () => clock.time };
  let settled = 0;
  const socket = new WebSocketConnection(transport, {
    clock,
    framesPerSecond: () => framesPerSecond,
    refused: (code, detail) => void refusals.push(`${code}: ${detail}`),
    onSettled: () => {
      settled += 1;
    },
  });
  const received: string[] = [];
  let closed = 0;
  socket.onData = (chunk) => void received.push(chunk.toString());
  socket.onClose = () => {
    closed += 1;
  };
  const reader = new ServerFrameReader();
  let read = 0;
  return {
    transport,
    socket,
    clock,
    refusals,
    received,
    settled: () => settled,
    closed: () => closed,
    /** What was written since the last time. */
    frames: (): readonly ServerFrame[] => {
      const fresh = transport.written.slice(read);
      read = transport.written.length;
      return reader.push(Buffer.concat(fresh));
    },
    send: (code: number, payload: string | Buffer = '') =>
      transport.onData(clientFrame({ opcode: code, payload })),
  };
}

test('bytes come out of frames and go into one frame a write', () => {
  const { transport, socket, received, frames, send } = open();
  send(opcode.binary, 'one');
  assert.deepEqual(received, ['one']);
  assert.equal(socket.write(Buffer.from('two')), true);
  assert.equal(socket.write(Buffer.alloc(100_000, 'x')), true);
  const written = frames();
  assert.deepEqual(
    written.map(({ opcode: code, payload }) => [code, payload.length]),
    [
      [opcode.binary, 3],
      [opcode.binary, 100_000],
    ],
  );
  assert.equal(transport.written.length, 3, 'a large payload is not copied behind its header');
  transport.takes = false;
  assert.equal(socket.write(Buffer.from('three')), false);
  assert.equal(socket.pendingBytes, 'three'.length + 2);
});

test('pause, resume and drain are those of the connection below', () => {
  const { transport, socket } = open();
  let drained = 0;
  socket.onDrain = () => {
    drained += 1;
  };
  socket.pause();
  assert.equal(transport.paused, true);
  socket.resume();
  assert.equal(transport.paused, false);
  transport.drain();
  assert.equal(drained, 1);
});

test('a ping is answered with its payload, a pong with nothing', () => {
  const { frames, send, received } = open();
  send(opcode.ping, 'are you there');
  send(opcode.pong, 'I was not asked');
  const [pong, ...others] = frames();
  assert.deepEqual([pong?.opcode, pong?.payload.toString()], [opcode.pong, 'are you there']);
  assert.deepEqual(others, []);
  assert.deepEqual(received, []);
});

test('of the pings of a peer that does not read, one is answered', () => {
  const { transport, socket, frames } = open();
  transport.takes = false;
  socket.write(Buffer.from('unread'));
  frames();
  for (const payload of ['1', '2', '3']) {
    const chunk = clientFrame({ opcode: opcode.ping, payload });
    transport.onData(chunk);
    // What a read brought is used for the next one.
    chunk.fill(0);
  }
  assert.deepEqual(frames(), []);
  transport.drain();
  assert.deepEqual(
    frames().map(({ payload }) => payload.toString()),
    ['3'],
  );
  transport.drain();
  assert.deepEqual(frames(), []);
});

test('the end is a close frame and the end of the connection, and nothing follows it', () => {
  const { transport, socket, frames, send, received } = open();
  socket.end(500);
  const [close, ...others] = frames();
  assert.deepEqual([close?.opcode, close?.payload], [opcode.close, closePayload(1000)]);
  assert.deepEqual(others, []);
  assert.equal(transport.ended, true);
  assert.equal(socket.write(Buffer.from('late')), false);
  send(opcode.close, closePayload(1000));
  send(opcode.binary, 'late');
  socket.pause();
  assert.equal(transport.paused, false, 'the end of the peer could not be seen');
  assert.deepEqual(frames(), []);
  assert.deepEqual(received, []);
});

for (const [given, answered] of [
  [closePayload(1001, 'going away'), closePayload(1001)],
  [Buffer.alloc(0), Buffer.alloc(0)],
  [closePayload(1005), closePayload(1002)],
] as const) {
  test(`a close with ${given.toString('hex')} is answered with ${answered.toString('hex')}`, () => {
    const { transport, frames, send, received, refusals } = open();
    send(opcode.close, given);
    send(opcode.binary, 'late');
    const [close, ...others] = frames();
    assert.deepEqual([close?.opcode, close?.payload], [opcode.close, answered]);
    assert.deepEqual(others, []);
    assert.equal(transport.ended, true);
    assert.deepEqual(received, []);
    assert.equal(refusals.length, answered.equals(closePayload(1002)) ? 1 : 0);
  });
}

test('a text frame ends it with 1003, after what came before', () => {
  const { transport, socket, frames, received, refusals } = open();
  let ended = 0;
  socket.onEnd = () => {
    ended += 1;
  };
  const binary = clientFrame({ opcode: opcode.binary, payload: 'before' });
  transport.onData(Buffer.concat([binary, clientFrame({ opcode: opcode.text, payload: 'x' })]));
  assert.deepEqual(received, ['before']);
  assert.deepEqual(frames()[0]?.payload, closePayload(1003));
  assert.deepEqual(refusals, ['malformed: a text frame [MQTT-6.0.0-1]']);
  assert.deepEqual([transport.ended, ended], [true, 1]);
});

test('who is ended by what it sends is told once', () => {
  const { transport, socket, frames, refusals } = open();
  socket.onData = () => socket.end(500);
  const binary = clientFrame({ opcode: opcode.binary, payload: 'goodbye' });
  transport.onData(Buffer.concat([binary, clientFrame({ opcode: opcode.text, payload: 'x' })]));
  assert.deepEqual(
    frames().map(({ payload }) => payload),
    [closePayload(1000)],
  );
  assert.deepEqual(refusals, []);
});

for (const [what, code] of [
  ['pings', opcode.ping],
  ['pongs', opcode.pong],
  ['empty frames', opcode.binary],
] as const) {
  test(`${what} without end end it with 1008`, () => {
    const { clock, frames, send, refusals } = open();
    for (let second = 0; second < 3; second += 1) {
      for (let n = 0; n < framesPerSecond; n += 1) send(code);
      clock.time += 1_000;
    }
    assert.deepEqual(refusals, []);
    for (let n = 0; n <= framesPerSecond; n += 1) send(code);
    assert.deepEqual(refusals, ['rate: too many frames that carry nothing']);
    assert.deepEqual(frames().at(-1)?.payload, closePayload(1008));
  });
}

test('frames that carry something are not counted', () => {
  const { send, received, refusals } = open();
  for (let n = 0; n < 10 * framesPerSecond; n += 1) send(opcode.binary, 'x');
  assert.equal(received.length, 10 * framesPerSecond);
  assert.deepEqual(refusals, []);
});

test('it is settled once: by its authentication, or by its end', () => {
  const authenticated = open();
  authenticated.socket.authenticated();
  assert.equal(authenticated.transport.hasAuthenticated, true);
  assert.equal(authenticated.settled(), 1);
  authenticated.transport.onClose();
  assert.deepEqual([authenticated.settled(), authenticated.closed()], [1, 1]);
  const gone = open();
  gone.transport.onClose();
  assert.deepEqual([gone.settled(), gone.closed()], [1, 1]);
});

test('that a peer sends no more is told, after its close too, which is answered when what came before is done', () => {
  for (const closes of [false, true]) {
    const { transport, socket, send, frames, received } = open();
    let ended = 0;
    socket.onEnd = () => {
      ended += 1;
    };
    if (closes) {
      send(opcode.close, closePayload(1001));
      send(opcode.binary, 'late');
    }
    transport.onEnd();
    assert.ok(ended > 0);
    assert.equal(transport.ended, false);
    assert.equal(socket.write(Buffer.from('an answer')), true);
    socket.end(500);
    transport.onEnd();
    const [answer, close, ...others] = frames();
    assert.equal(answer?.payload.toString(), 'an answer');
    assert.deepEqual(close?.payload, closePayload(closes ? 1001 : 1000));
    assert.deepEqual([others, received], [[], []]);
    assert.equal(transport.ended, true);
  }
});

test('what is destroyed reads and writes nothing', () => {
  const { socket, send, received, frames } = open();
  socket.destroy();
  send(opcode.binary, 'late');
  assert.equal(socket.write(Buffer.from('late')), false);
  assert.deepEqual([received, frames()], [[], []]);
});
