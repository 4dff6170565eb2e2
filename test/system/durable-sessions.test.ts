/** Sessions that outlive their connection, on two workers that are killed: what was promised is kept. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, GatewayOptions, Identity } from '../harness/gateway.ts';
import { LastingClient } from '../harness/lasting-client.ts';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import { ack, again, WireClient, wireTypes } from '../harness/mqtt-wire.ts';
import type { WireOptions } from '../harness/mqtt-wire.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until, within } from '../harness/waiting.ts';
import { workerOf } from '../harness/worker-of.ts';

const config = [
  "roles: { any: { allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } } }",
  'limits: { connectsPerMinute: 10000 }',
].join('\n');

function start(options: GatewayOptions = {}): Promise<Gateway> {
  return startGateway({ workers: 2, config, ...options });
}

const kept: WireOptions = { clientId: 'c', properties: [['sessionExpiryInterval', 3_600]] };

/** Connects until it is let in, as a client does; on the worker that is wanted, when one is. */
async function come(
  gateway: Gateway,
  identity: Identity,
  options: WireOptions,
  worker?: number,
): Promise<{ client: WireClient; present: boolean; worker: number }> {
  return until(`${identity.id} is let in`, 60_000, async () => {
    let client: WireClient | undefined;
    try {
      client = await WireClient.open(gateway.mqttsPort, identity, 5);
      const { localAddress = '', localPort = 0 } = client.socket;
      const { code, sessionPresent } = await client.connect(options);
      const at = await workerOf(gateway, {
        address: `${localAddress}:${localPort}`,
        [Symbol.dispose]() {},
      });
      if (code === 0 && (worker ?? at) === at) {
        return { client, present: sessionPresent, worker: at };
      }
    } catch {
      // Nobody listens at this moment.
    }
    client?.[Symbol.dispose]();
    return undefined;
  });
}

/** Messages, QoS 1 and 2 in turn, until it is told to stop; each begins when the one before has been promised. */
class Stream {
  readonly promised: string[] = [];
  readonly #from: LastingClient;
  readonly #done: Promise<void>;
  #stopped = false;
  #wake: () => void = () => {};

  constructor(from: LastingClient) {
    this.#from = from;
    this.#done = this.#run();
  }

  /** Resolves when so many more have been promised. */
  async more(count: number): Promise<void> {
    const wanted = this.promised.length + count;
    while (this.promised.length < wanted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await within(Promise.race([promise, this.#done]), 60_000, `${wanted} messages`);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await within(this.#done, 60_000, 'the last message');
  }

  async #run(): Promise<void> {
    for (let n = 0; !this.#stopped; n += 1) {
      const qos = n % 2 === 0 ? 1 : 2;
      const payload = `${qos}-${n}`;
      assert.equal(await this.#from.publish('t/stream', payload, qos), 'promised');
      this.promised.push(payload);
      this.#wake();
    }
  }
}

test('each worker and then everything is killed while messages flow: QoS 1 arrives, QoS 2 exactly once', async () => {
  using folder = temporaryFolder();
  let gateway = await start({ folder });
  const clients: LastingClient[] = [];
  try {
    const [from, to] = [await gateway.service('from', 'any'), await gateway.service('to', 'any')];
    const got = new Map<string, number>();
    const reader = new LastingClient({
      identity: to,
      gateway: () => gateway,
      filters: ['t/stream'],
      onMessage: ({ payload }) => got.set(payload, (got.get(payload) ?? 0) + 1),
    });
    clients.push(reader);
    await until('the reader', 30_000, () => reader.subscribed);
    const writer = new LastingClient({
      identity: from,
      gateway: () => gateway,
      filters: [],
      onMessage: () => {},
    });
    clients.push(writer);
    const stream = new Stream(writer);
    for (const killed of gateway.run().workers) {
      await stream.more(30);
      process.kill(killed, 'SIGKILL');
      await gateway.runFile(({ workers }) => workers.length === 2 && !workers.includes(killed));
    }
    await stream.more(30);
    await gateway.kill();
    gateway = await start({ folder });
    await stream.more(30);
    await stream.stop();
    const { promised } = stream;
    await until(
      'every message',
      30_000,
      () => promised.every((each) => got.has(each)) || undefined,
    );
    assert.equal(reader.sessions, 1, 'the session was lost');
    const twice = [...got].filter(([payload, times]) => payload.startsWith('2-') && times > 1);
    assert.deepEqual(twice, []);
    await Promise.all(clients.map((client) => client.stop()));
    await gateway.stop();
  } finally {
    await Promise.all(clients.map((client) => client.stop()));
    await gateway[Symbol.asyncDispose]();
  }
});

test('a message that was received before the crash is not published again after it', async () => {
  using folder = temporaryFolder();
  const before = await start({ folder });
  const [from, to] = [await before.service('from', 'any'), await before.service('to', 'any')];
  const reader = await come(before, to, kept);
  await reader.client.subscribe([{ filter: 't/once', options: 2 }]);
  const writer = await come(before, from, kept);
  const publish = publishPacket({
    version: 5,
    topic: 't/once',
    payload: 'x',
    qos: 2,
    packetId: 7,
  });
  await reader.client.drop();
  writer.client.send(publish);
  const { code } = await writer.client.acknowledged(wireTypes.pubrec);
  assert.equal(code, 0);
  await before.kill();

  await using gateway = await start({ folder });
  const resumed = await come(gateway, from, { ...kept, cleanStart: false });
  assert.equal(resumed.present, true);
  resumed.client.send(again(publish));
  assert.equal((await resumed.client.acknowledged(wireTypes.pubrec)).packetId, 7);
  resumed.client.send(ack(wireTypes.pubrel, 7));
  assert.equal((await resumed.client.acknowledged(wireTypes.pubcomp)).code, 0);
  const { client, present } = await come(gateway, to, { ...kept, cleanStart: false });
  assert.equal(present, true);
  const { payload, packetId = 0, qos } = await client.message();
  assert.deepEqual([payload, qos], ['x', 2]);
  client.send(ack(wireTypes.pubrec, packetId));
  await client.acknowledged(wireTypes.pubrel);
  client.send(ack(wireTypes.pubcomp, packetId));
  await client.nothing();
  resumed.client[Symbol.dispose]();
  client[Symbol.dispose]();
  await gateway.stop();
});

test('a takeover on the other worker: what was in flight is sent again there, what was acknowledged is not', async () => {
  await using gateway = await start();
  const [from, to] = [await gateway.service('from', 'any'), await gateway.service('to', 'any')];
  const older = await come(gateway, to, kept);
  await older.client.subscribe([{ filter: 't/moved', options: 1 }]);
  const other = gateway.run().workers.find((pid) => pid !== older.worker);
  assert.ok(other !== undefined);
  const { client: writer } = await come(gateway, from, { clientId: 'w' });
  for (const payload of ['a', 'b', 'c']) await writer.publish({ topic: 't/moved', payload });
  const ids = new Map<string, number>();
  for (const wanted of ['a', 'b', 'c']) {
    const { payload, packetId = 0 } = await older.client.message();
    assert.equal(payload, wanted);
    ids.set(payload, packetId);
  }
  older.client.send(ack(wireTypes.puback, ids.get('b') ?? 0));
  await older.client.nothing();

  const newer = await come(gateway, to, { ...kept, cleanStart: false }, other);
  assert.equal(newer.present, true);
  for (const wanted of ['a', 'c']) {
    const { payload, packetId, dup } = await newer.client.message();
    assert.deepEqual([payload, packetId, dup], [wanted, ids.get(wanted), true]);
    newer.client.send(ack(wireTypes.puback, packetId ?? 0));
  }
  await writer.publish({ topic: 't/moved', payload: 'd' });
  const { payload, dup } = await newer.client.message();
  assert.deepEqual([payload, dup], ['d', false]);
  for (const client of [older.client, newer.client, writer]) client[Symbol.dispose]();
  await gateway.stop();
});

for (const [name, expiry, delay] of [
  ['a session that ends with its connection', 0, undefined],
  ['a durable session', 3_600, undefined],
  ['a durable session, after its delay', 3_600, 1],
] as const) {
  test(`the will of a client whose worker was killed is published: ${name}`, async () => {
    await using gateway = await start();
    const [from, to] = [await gateway.service('from', 'any'), await gateway.service('to', 'any')];
    const mortal = await come(gateway, from, {
      clientId: 'mortal',
      properties: [['sessionExpiryInterval', expiry]],
      will: {
        topic: 't/will',
        payload: 'gone',
        qos: 1,
        ...(delay === undefined ? {} : { properties: [['willDelayInterval', delay]] }),
      },
    });
    const other = gateway.run().workers.find((pid) => pid !== mortal.worker);
    assert.ok(other !== undefined);
    const watcher = await come(gateway, to, kept, other);
    await watcher.client.subscribe([{ filter: 't/will', options: 1 }]);
    process.kill(mortal.worker, 'SIGKILL');
    const { payload, packetId = 0 } = await watcher.client.message();
    assert.equal(payload, 'gone');
    watcher.client.send(ack(wireTypes.puback, packetId));
    await watcher.client.nothing();
    watcher.client[Symbol.dispose]();
    mortal.client[Symbol.dispose]();
    await gateway.stop();
  });
}

test('a device that was revoked while its worker was dead leaves no session to whoever enrols under its id', async () => {
  const role = "{ allow: { publish: [ 't/#' ], subscribe: [ 't/#' ] } }";
  await using gateway = await start({
    workers: 1,
    config: `roles: { any: ${role}, device: ${role} }`,
  });
  const from = await gateway.service('from', 'any');
  const before = await come(gateway, await gateway.device('d1'), kept);
  await before.client.subscribe([{ filter: 't/secret', options: 1 }]);
  await before.client.drop();
  const writer = await come(gateway, from, { clientId: 'w' });
  await writer.client.publish({ topic: 't/secret', payload: 'x' });
  process.kill(before.worker, 'SIGKILL');
  await gateway.ok('device', 'revoke', 'd1');
  await gateway.runFile(({ workers }) => workers.length === 1 && !workers.includes(before.worker));
  await gateway.ok('device', 'reinstate', 'd1');
  const after = await come(gateway, await gateway.device('d1'), { ...kept, cleanStart: false });
  assert.equal(after.present, false);
  await after.client.nothing();
  for (const { client } of [writer, after]) client[Symbol.dispose]();
  await gateway.stop();
});
