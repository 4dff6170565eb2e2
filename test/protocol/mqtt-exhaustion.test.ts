/**
 * What a peer can make the gateway hold, before and after it has said who it is: bounded in count, bytes and time, while
 * an established session next to it is served. The limits are small so that a test reaches them.
 */
import assert from 'node:assert/strict';
import { connect as tcpConnect } from 'node:net';
import type { Socket } from 'node:net';
import { setInterval as ticks } from 'node:timers/promises';
import { test } from 'node:test';
import {
  connectPacket,
  packet,
  packetTypes,
  pingreqPacket,
  pubackPacket,
  publishPacket,
  subscribePacket,
  unsubscribePacket,
} from '../harness/mqtt-bytes.ts';
import { u16 } from '../harness/mqtt-fields.ts';
import { readMetrics } from '../harness/metrics.ts';
import { residentBytes } from '../harness/processes.ts';
import { nextSource } from '../harness/raw-mqtt.ts';
import type { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';

const halfOpen = 1_000;
const sourceHalfOpen = 200;
const controlPackets = 200;
const outboundMessages = 100;
const sessionsPerIdentity = 20;
const quotaExceeded = 0x97;
const limits = [
  'limits:',
  `  halfOpen: ${halfOpen}`,
  `  sourceHalfOpen: ${sourceHalfOpen}`,
  // Faster than silent connections are given up, so that the bounds are reached.
  '  handshakesPerSecond: 20000',
  '  connectsPerMinute: 100000',
  `  controlPacketsPerSecond: ${controlPackets}`,
  // Long enough to reach the bounds before the first are given up, on a machine that stands still for a while too.
  '  handshake: 15s',
  '  connect: 1s',
  '  connectBytes: 64KiB',
  '  outboundBytes: 512KiB',
  `  outboundMessages: ${outboundMessages}`,
  `  sessionsPerIdentity: ${sessionsPerIdentity}`,
  '  identityRates: { service: [] }',
];
const roles = "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }";
const config = [roles, ...limits].join('\n');

const { gateway, port, connect, open } = await sharedGateway({ config });
const [worker] = gateway.run().workers;
assert.ok(worker !== undefined);
const alice = await gateway.service('alice', 'any');
const bob = await gateway.service('bob', 'any');

const mebibyte = 1024 * 1024;
/** Generous: a machine with other work closes later, but it closes. */
const endLimitMs = 60_000;

/** @returns by how much the worker's memory has grown at its highest while `happens` ran, looked at every 50 ms. */
async function growthWhile(happens: () => Promise<void>): Promise<number> {
  const pid = worker ?? 0;
  const before = residentBytes(pid);
  let highest = before;
  const looking = setInterval(() => {
    highest = Math.max(highest, residentBytes(pid));
  }, 50);
  try {
    await happens();
  } finally {
    clearInterval(looking);
  }
  return Math.max(highest, residentBytes(pid)) - before;
}

async function served(): Promise<void> {
  using client = await connect(alice, { clientId: 'served' });
  await client.ping();
}

interface HalfOpen {
  readonly socket: Socket;
  readonly closed: Promise<void>;
}

function halfOpenConnection(localAddress: string): HalfOpen {
  const socket = tcpConnect({ host: '127.0.0.1', port, localAddress });
  socket.on('error', () => {});
  socket.resume();
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
  });
  return { socket, closed };
}

test('2,000 TCP connections that say nothing are bounded in count, memory and time', async () => {
  using established = await connect(alice, { clientId: 'established' });
  const count = 2_000;
  const grown = await growthWhile(async () => {
    const all = Array.from({ length: count }, () => halfOpenConnection(nextSource()));
    await until('a thousand are held and the rest are refused', endLimitMs, async () => {
      const metrics = await readMetrics(gateway);
      const refused = metrics.sum('sallyport_admission_refused_total', { reason: 'half-open' });
      return refused >= count - halfOpen;
    });
    await established.ping();
    await within(Promise.all(all.map(({ closed }) => closed)), endLimitMs, 'the end of all');
  });
  assert.ok(grown < 64 * mebibyte, `grown by ${grown} bytes`);
  await established.ping();
  await served();
});

test('one address does not take the half-open places of all', async () => {
  const source = nextSource();
  const all = Array.from({ length: 2 * sourceHalfOpen }, () => halfOpenConnection(source));
  await until('what is over its share is refused', endLimitMs, async () => {
    const metrics = await readMetrics(gateway);
    const reason = 'source-half-open';
    return metrics.sum('sallyport_admission_refused_total', { reason }) >= sourceHalfOpen;
  });
  await assert.rejects(open(alice, { localAddress: source }));
  await served();
  await within(Promise.all(all.map(({ closed }) => closed)), endLimitMs, 'the end of all');
  using client = await open(alice, { localAddress: source });
  assert.equal((await client.connect()).code, 0);
});

test('500 TLS connections that say nothing are closed in time, without a byte', async () => {
  using established = await connect(alice, { clientId: 'established' });
  let bytes = 0;
  const grown = await growthWhile(async () => {
    const all: RawMqtt[] = [];
    for (let n = 0; n < 10; n += 1) {
      const some = Array.from({ length: 50 }, () => open(undefined, { ca: alice.ca }));
      all.push(...(await Promise.all(some)));
    }
    for (const { socket } of all) {
      socket.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
    }
    await established.ping();
    const endings = await within(
      Promise.all(all.map(({ ended }) => ended)),
      endLimitMs,
      'the end of all',
    );
    assert.ok(endings.every(({ disconnect }) => disconnect === undefined));
  });
  assert.equal(bytes, 0);
  assert.ok(grown < 96 * mebibyte, `grown by ${grown} bytes`);
  await served();
});

test('a CONNECT that never ends is given up in time and holds no more than it sent', async () => {
  const whole = connectPacket({ version: 5, clientId: 'x'.repeat(60_000) });
  const grown = await growthWhile(async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => open(alice)));
    for (const client of all) client.send(whole.subarray(0, -1));
    await within(Promise.all(all.map(({ ended }) => ended)), endLimitMs, 'the end of all');
  });
  assert.ok(grown < 64 * mebibyte, `grown by ${grown} bytes`);
});

test('256 MB declared by 200 connections cost nothing: refused from the header', async () => {
  const grown = await growthWhile(async () => {
    const all = await Promise.all(Array.from({ length: 200 }, () => open(alice)));
    for (const client of all) {
      client.send(Buffer.of(0x10, 0xff, 0xff, 0xff, 0x7f));
      client.send(Buffer.alloc(16 * 1024));
    }
    await within(Promise.all(all.map(({ ended }) => ended)), endLimitMs, 'the end of all');
  });
  assert.ok(grown < 64 * mebibyte, `grown by ${grown} bytes`);
});

test('a remaining length that is dribbled is refused with its last byte', async () => {
  using client = await open(alice);
  client.socket.setNoDelay(true);
  for (const byte of [0x10, 0xff, 0xff, 0xff, 0x7f]) client.send(Buffer.of(byte));
  const { body } = await client.next(packetTypes.connack);
  assert.equal(body.readUInt8(1), 0x95);
  await within(client.ended, endLimitMs, 'the end');
});

test('a CONNECT that is dribbled does not outlive its time', async () => {
  using client = await open(alice);
  const bytes = connectPacket({ version: 5, clientId: 'x'.repeat(60_000) });
  let at = 0;
  for await (const _ of ticks(50)) {
    if (client.isEnded) break;
    client.send(bytes.subarray(at, at + 1));
    at += 1;
    assert.ok(at < 400, 'it was let go on for 20 s');
  }
});

for (const version of [5, 4] as const) {
  const name = version === 5 ? 'MQTT 5: DISCONNECT 0x8D' : 'MQTT 3.1.1: a close';
  test(`${name} for a client that is silent for longer than its keep alive, not for one that pings`, async () => {
    // Several seconds, so that a pause of the machine does not make the one that pings silent.
    using silent = await connect(alice, { clientId: 'silent', version, keepAlive: 5 });
    using pinging = await connect(alice, { clientId: 'pinging', version, keepAlive: 5 });
    using without = await connect(alice, { clientId: 'without', version: 4, keepAlive: 0 });
    const pings = setInterval(() => pinging.send(pingreqPacket()), 300);
    try {
      const { disconnect } = await within(silent.ended, endLimitMs, 'the end');
      assert.equal(disconnect, version === 5 ? 0x8d : undefined);
      assert.equal(pinging.isEnded, false);
      await pinging.ping();
      await without.ping();
    } finally {
      clearInterval(pings);
    }
  });
}

test('what is dribbled in keeps no session alive', async () => {
  using client = await connect(alice, { clientId: 'dribbles', keepAlive: 1 });
  const bytes = publishPacket({ version: 5, topic: 't/x', payload: Buffer.alloc(1_000), qos: 1 });
  let at = 0;
  for await (const _ of ticks(200)) {
    if (client.isEnded) break;
    client.send(bytes.subarray(at, at + 1));
    at += 1;
    assert.ok(at < 100, 'it was let go on for 20 s');
  }
  assert.equal((await client.ended).disconnect, 0x8d);
});

for (const [what, bytes] of [
  ['PINGREQ', pingreqPacket()],
  ['SUBSCRIBE', subscribePacket(5, 1, [{ filter: 't/x', options: 0 }])],
  ['SUBSCRIBE of what is refused', subscribePacket(5, 1, [{ filter: '#', options: 0 }])],
  ['UNSUBSCRIBE', unsubscribePacket(5, 1, ['t/x'])],
  ['PUBACK of nothing', pubackPacket(7)],
  ['PUBREL of nothing', packet(6, 2, [u16(7)])],
] as const) {
  test(`a flood of ${what} is ended with 0x96`, async () => {
    using bystander = await connect(alice, { clientId: 'bystander' });
    using client = await connect(alice, { clientId: 'flood' });
    // A second may begin in the middle of it.
    const flooding = Array.from({ length: 3 * controlPackets }, () => bytes);
    client.send(Buffer.concat(flooding));
    assert.equal((await within(client.ended, endLimitMs, 'the end')).disconnect, 0x96);
    await bystander.ping();
  });
}

/** Two batches are less than limits.outboundBytes: a reader that waits for each loses nothing. */
const batch = 10;
const payloadBytes = 16 * 1024;

/** Publishes `count` messages of 16 KiB in writes of ten, the next when `taken` says that it is time. */
async function flood(
  publisher: RawMqtt,
  topic: string,
  count: number,
  qos: 0 | 1,
  taken: (sent: number) => Promise<unknown>,
): Promise<void> {
  for (let n = 0; n < count; n += batch) {
    const packets = Array.from({ length: batch }, (_, i) => {
      const payload = `${n + i} `.padEnd(payloadBytes, 'x');
      return publishPacket({ version: 5, topic, payload, qos, packetId: i + 1 });
    });
    publisher.send(Buffer.concat(packets));
    await taken(n + batch);
  }
}

async function acknowledgedBy(publisher: RawMqtt): Promise<void> {
  for (let i = 0; i < batch; i += 1) await publisher.next(packetTypes.puback);
}

test('a subscriber that does not read loses QoS 0, costs no memory, and goes on when it reads', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using slow = await connect(bob, { clientId: 'slow' });
  using quick = await connect(bob, { clientId: 'quick' });
  for (const subscriber of [slow, quick]) {
    await subscriber.subscribeTo([{ filter: 't/flood', options: 0 }]);
  }
  // More than the buffers of the kernel hold.
  const count = 2_000;
  slow.socket.pause();
  const grown = await growthWhile(() =>
    flood(publisher, 't/flood', count, 0, (sent) =>
      quick.message(() => quick.messages.length >= sent),
    ),
  );
  assert.equal(quick.messages.length, count);
  assert.ok(grown < 64 * mebibyte, `grown by ${grown} bytes`);
  slow.socket.resume();
  await slow.ping();
  assert.ok(slow.messages.length < count, 'nothing was dropped');
  const numbers = slow.messages.map(({ payload }) => Number.parseInt(payload, 10));
  assert.deepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
  );
  publisher.publishUnacknowledged('t/flood', 'after');
  await slow.message(({ payload }) => payload === 'after');
  const dropped = count + 1 - slow.messages.length;
  await until('each of them is counted', endLimitMs, async () => {
    const metrics = await readMetrics(gateway);
    return metrics.sum('sallyport_mqtt_dropped_total', { reason: 'slow-reader' }) === dropped;
  });
});

test('a subscriber that does not acknowledge is ended when its queue is full; the others get all', async () => {
  for (const version of [5, 4] as const) {
    using publisher = await connect(alice, { clientId: 'p' });
    using deaf = await connect(bob, { clientId: 'deaf', version, acknowledges: false });
    using quick = await connect(bob, { clientId: 'quick' });
    for (const subscriber of [deaf, quick]) await subscriber.subscribe('t/queue');
    const count = 500;
    await flood(publisher, 't/queue', count, 1, () => acknowledgedBy(publisher));
    const { disconnect } = await within(deaf.ended, endLimitMs, 'the end of the deaf one');
    assert.equal(disconnect, version === 5 ? 0x97 : undefined);
    assert.ok(deaf.messages.length <= outboundMessages, `${deaf.messages.length} in flight`);
    await quick.message(() => quick.messages.length === count, endLimitMs);
  }
});

test('a subscriber that neither reads nor acknowledges is cut off', async () => {
  using publisher = await connect(alice, { clientId: 'p' });
  using stuck = await connect(bob, { clientId: 'stuck' });
  await stuck.subscribe('t/stuck');
  stuck.socket.pause();
  const since = gateway.log.end;
  const grown = await growthWhile(() =>
    flood(publisher, 't/stuck', 1_000, 1, () => acknowledgedBy(publisher)),
  );
  await gateway.log.logged(
    (line) => line.get('msg') === 'session ended' && line.get('client_id') === 'stuck',
    since,
    endLimitMs,
  );
  assert.ok(grown < 64 * mebibyte, `grown by ${grown} bytes`);
  stuck.socket.resume();
  await within(stuck.ended, endLimitMs, 'the end of the stuck one');
});

test('random client ids with an endless session expiry: an identity keeps as many sessions as it may have, and none for ever', async () => {
  const carol = await gateway.service('carol', 'any');
  const codes: number[] = [];
  for (let n = 0; n < 200; n += 1) {
    using client = await open(carol);
    const { code, properties } = await client.connect({
      clientId: `random-${n}`,
      cleanStart: false,
      properties: [['sessionExpiryInterval', 0xffff_ffff]],
    });
    codes.push(code);
    if (code === 0) {
      assert.equal(new Map(properties).get('sessionExpiryInterval'), 7 * 24 * 3_600);
      await client.close();
    }
  }
  const kept = codes.filter((code) => code === 0).length;
  assert.equal(kept, sessionsPerIdentity);
  assert.ok(codes.slice(kept).every((code) => code === quotaExceeded));
  await until('no session is connected', endLimitMs, async () => {
    return (await readMetrics(gateway)).sum('sallyport_sessions') === 0;
  });
  // What was kept is there to be ended: then there is room again.
  using ends = await connect(carol, { clientId: 'random-0' });
  await ends.close();
  using next = await connect(carol, {
    clientId: 'next',
    properties: [['sessionExpiryInterval', 1]],
  });
  await next.ping();
});

test('a peer that reads nothing of what waits for it is ended', async () => {
  gateway.configure([config, '  stalled: 1s'].join('\n'));
  await gateway.ok('reload');
  using publisher = await connect(alice, { clientId: 'p' });
  using stalled = await connect(bob, { clientId: 'stalled' });
  using quick = await connect(bob, { clientId: 'quick' });
  for (const subscriber of [stalled, quick]) {
    await subscriber.subscribeTo([{ filter: 't/stalled', options: 0 }]);
  }
  stalled.socket.pause();
  const since = gateway.log.end;
  await flood(publisher, 't/stalled', 2_000, 0, (sent) =>
    quick.message(() => quick.messages.length >= sent),
  );
  await gateway.log.logged(
    (line) => line.get('msg') === 'session ended' && line.get('client_id') === 'stalled',
    since,
    endLimitMs,
  );
  await quick.ping();
});
