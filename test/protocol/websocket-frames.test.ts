/**
 * MQTT in frames, written by hand: however a client frames its packets they arrive the same, and whatever is no frame
 * for MQTT ends the connection with the code that says so. All that the gateway sends is read by the letter: whole
 * binary messages, unmasked.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pingreqPacket, publishPacket } from '../harness/mqtt-bytes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import type { ClientOptions } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';
import { clientFrame, closePayload, opcode } from '../harness/websocket-bytes.ts';
import type { ClientFrame } from '../harness/websocket-bytes.ts';

const controlPacketsPerSecond = 50;

const { gateway, connect } = await sharedGateway({
  config: [
    'routes: { telemetry: { rate: [] } }',
    'limits:',
    `  controlPacketsPerSecond: ${controlPacketsPerSecond}`,
    '  stalled: 2s',
    '  outboundBytes: 64MiB',
    '  identityRates: { device: [] }',
    '  connectsPerMinute: 100000',
  ].join('\n'),
});
const port = gateway.httpsPort;
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);
const be = await gateway.service('be', 'backend');
const backend = await connect(be, { clientId: 'be' });
assert.deepEqual(await backend.subscribe('devices/+/telemetry', 'devices/+/diagnostics'), [1, 1]);

async function device(options: ClientOptions = {}): Promise<RawMqtt> {
  assert.ok(d1 !== undefined);
  const client = await RawMqtt.open({ ...options, over: 'websocket', port, identity: d1 });
  assert.equal((await client.connect({ clientId: 'd1', keepAlive: 0, ...options })).code, 0);
  return client;
}

const { binary, continuation, text, close, ping, pong } = opcode;
const telemetry = 'devices/d1/telemetry';

function reading(payload: string): Buffer {
  return publishPacket({ version: 5, topic: telemetry, payload, qos: 0 });
}

const frames = (...all: readonly ClientFrame[]): Buffer => Buffer.concat(all.map(clientFrame));

/** One packet in frames of so many bytes each. */
function framed(packet: Buffer, bytes: number, last: boolean): Buffer {
  const pieces: ClientFrame[] = [];
  for (let at = 0; at < packet.length; at += bytes) {
    const payload = packet.subarray(at, at + bytes);
    const fin = last && at + bytes >= packet.length;
    pieces.push({ opcode: at === 0 ? binary : continuation, fin, payload });
  }
  return frames(...pieces);
}

let readings = 0;

/** Every framing of a few packets is those packets, in order. */
const framings: Readonly<Record<string, (packets: readonly Buffer[]) => Buffer>> = {
  'a packet a frame': (packets) =>
    frames(...packets.map((payload) => ({ opcode: binary, payload }))),
  'all in one frame': (packets) => frames({ opcode: binary, payload: Buffer.concat(packets) }),
  'one byte a message': (packets) =>
    frames(
      ...Array.from(Buffer.concat(packets), (byte) => ({
        opcode: binary,
        payload: Buffer.of(byte),
      })),
    ),
  'one message in fragments of 7 bytes': (packets) => framed(Buffer.concat(packets), 7, true),
  'frames that end in the middle of packets': (packets) => {
    const all = Buffer.concat(packets);
    const at = Math.floor(all.length / 2) + 1;
    return frames(
      { opcode: binary, payload: all.subarray(0, at) },
      { opcode: binary, payload: all.subarray(at) },
    );
  },
  'pings, pongs and empty fragments in between': (packets) =>
    frames(
      { opcode: binary, fin: false, payload: packets[0] ?? '' },
      { opcode: ping, payload: 'a' },
      { opcode: continuation, fin: false },
      { opcode: continuation, fin: false, payload: packets[1] ?? '' },
      { opcode: pong, payload: 'b' },
      { opcode: continuation, payload: Buffer.concat(packets.slice(2)) },
    ),
  'a mask of zeros': (packets) =>
    frames({ opcode: binary, payload: Buffer.concat(packets), mask: Buffer.alloc(4) }),
};

for (const [name, framing] of Object.entries(framings)) {
  test(`packets and frames need not align: ${name} [MQTT-6.0.0-2]`, async () => {
    for (const size of [1, 300, 70_000]) {
      using client = await device();
      const expected = Array.from({ length: 4 }, () => {
        readings += 1;
        return JSON.stringify({ n: readings, x: 'x'.repeat(size) });
      });
      // Of one byte a frame, what one second allows is carried; of the large one a part is enough.
      if (size > 300 && name === 'one byte a message') continue;
      client.socket.write(framing(expected.map(reading)));
      const last = expected.at(-1);
      await backend.message(({ payload }) => payload === last);
      const arrived = backend.messages.slice(-4).map(({ payload }) => payload);
      assert.deepEqual(arrived, expected);
    }
  });
}

interface Violation {
  readonly what: string;
  readonly sent: Buffer;
  readonly closeCode: number;
}

const violations: readonly Violation[] = [
  {
    what: 'a text frame [MQTT-6.0.0-1]',
    sent: frames({ opcode: text, payload: pingreqPacket() }),
    closeCode: 1003,
  },
  {
    what: 'a frame without a mask',
    sent: frames({ opcode: binary, payload: pingreqPacket(), mask: null }),
    closeCode: 1002,
  },
  {
    what: 'a compressed frame, which nobody has agreed on',
    sent: frames({ opcode: binary, reserved: 4, payload: pingreqPacket() }),
    closeCode: 1002,
  },
  {
    what: 'a reserved opcode',
    sent: frames({ opcode: 3, payload: pingreqPacket() }),
    closeCode: 1002,
  },
  {
    what: 'a continuation of nothing',
    sent: frames({ opcode: continuation, payload: pingreqPacket() }),
    closeCode: 1002,
  },
  {
    what: 'a fragmented ping',
    sent: frames({ opcode: ping, fin: false, payload: 'x' }),
    closeCode: 1002,
  },
  {
    what: 'a ping of 126 bytes',
    sent: frames({ opcode: ping, payload: Buffer.alloc(126) }),
    closeCode: 1002,
  },
  {
    what: 'a length with its highest bit set',
    sent: frames({ opcode: binary, length: 2n ** 63n }),
    closeCode: 1002,
  },
  {
    what: 'a close with a code that must not be sent',
    sent: frames({ opcode: close, payload: closePayload(1006) }),
    closeCode: 1002,
  },
  {
    what: 'more pings a second than packets',
    sent: frames(...Array.from({ length: controlPacketsPerSecond * 2 }, () => ({ opcode: ping }))),
    closeCode: 1008,
  },
  {
    what: 'nothing, in frame after frame',
    sent: frames(
      ...Array.from({ length: controlPacketsPerSecond * 2 }, () => ({ opcode: binary })),
    ),
    closeCode: 1008,
  },
];

for (const { what, sent, closeCode } of violations) {
  test(`${closeCode}: ${what}`, async () => {
    using client = await device({ clientId: 'bad' });
    readings += 1;
    const before = JSON.stringify({ n: readings });
    const after = JSON.stringify({ late: readings });
    const good = frames({ opcode: binary, payload: reading(before) });
    const late = frames({ opcode: binary, payload: reading(after) });
    client.socket.write(Buffer.concat([good, sent, late]));
    const ending = await within(client.ended, 5_000, 'the end of the connection');
    assert.deepEqual([ending.closeCode, ending.disconnect], [closeCode, undefined]);
    // What came before it counts, what came after it does not.
    await backend.message(({ payload }) => payload === before);
    using fence = await device({ clientId: 'fence' });
    assert.equal(await fence.publish(telemetry, '"fence"'), 0);
    await backend.message(({ payload }) => payload === '"fence"');
    assert.ok(!backend.messages.some(({ payload }) => payload === after));
  });
}

test('what is wrong in MQTT is said in MQTT, and the WebSocket ends in order', async () => {
  using client = await device({ clientId: 'wrong' });
  // A PUBLISH of QoS 3.
  client.send(Buffer.of(0x36, 0x00));
  const { disconnect, closeCode } = await within(client.ended, 5_000, 'the end');
  assert.deepEqual([disconnect, closeCode], [0x81, 1000]);
});

test('a DISCONNECT, or a close without one, is what it is over TCP', async () => {
  const will = { topic: 'devices/d1/diagnostics', payload: 'gone', qos: 1 } as const;
  {
    using leaving = await device({ clientId: 'leaving', will: { ...will, payload: 'never' } });
    leaving.send(Buffer.of(0xe0, 0x00));
    assert.equal((await within(leaving.ended, 5_000, 'the end')).closeCode, 1000);
  }
  using closing = await device({ clientId: 'closing', will });
  closing.socket.write(clientFrame({ opcode: close, payload: closePayload(1001, 'bye') }));
  // Its own code comes back (RFC 6455 §5.5.1).
  assert.equal((await within(closing.ended, 5_000, 'the end')).closeCode, 1001);
  await backend.message(({ payload }) => payload === 'gone');
  assert.ok(!backend.messages.some(({ payload }) => payload === 'never'));
});

test('large messages go both ways', async () => {
  using client = await device({ clientId: 'large' });
  assert.deepEqual(await client.subscribe('devices/d1/commands/#'), [1]);
  for (const bytes of [100, 125, 126, 16_384, 65_535, 65_536, 250_000]) {
    const command = 'c'.repeat(bytes);
    assert.equal(await backend.publish('devices/d1/commands/x', command), 0);
    await client.message(({ payload }) => payload === command);
    const answer = JSON.stringify('a'.repeat(bytes));
    assert.equal(await client.publish(telemetry, answer), 0);
    await backend.message(({ payload }) => payload === answer);
  }
});

test('a client that does not read is ended, pings or no pings', async () => {
  using client = await RawMqtt.open({ over: 'websocket', port, identity: be });
  assert.equal((await client.connect({ clientId: 'deaf', keepAlive: 0 })).code, 0);
  assert.deepEqual(await client.subscribeTo([{ filter: telemetry, options: 0 }]), [0]);
  client.socket.pause();
  using publisher = await device({ clientId: 'loud' });
  // More than the kernel's buffers of both ends hold.
  for (let n = 0; n < 80; n += 1) {
    assert.equal(await publisher.publish(telemetry, JSON.stringify('x'.repeat(200_000))), 0);
  }
  // More and more waits for it, and every frame is more than was written.
  const busy = setInterval(() => {
    publisher.publishUnacknowledged(telemetry, '1');
    client.socket.write(clientFrame({ opcode: ping }));
  }, 100);
  try {
    await within(client.ended, 20_000, 'the end of a client that does not read');
  } finally {
    clearInterval(busy);
  }
});

test('frames of a kind and size that nobody can hold cost nothing', async () => {
  using client = await device({ clientId: 'endless' });
  // One frame that claims to be 2⁵² bytes, and carries packets as they come.
  const start = clientFrame({ opcode: binary, mask: Buffer.alloc(4), length: 2n ** 52n });
  client.socket.write(start);
  for (let n = 0; n < 3; n += 1) {
    client.socket.write(pingreqPacket());
    await client.take(({ type }) => type === 13, 'PINGRESP');
  }
});
