/**
 * What a change of standing does to MQTT over WebSocket: as to MQTT over TCP, on every worker and in both versions of
 * TLS, also to a connection that is between HTTP and MQTT. And what the end of the gateway does.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { pingreqPacket } from '../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../harness/mqtt-bytes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { SteadyPublisher } from '../harness/steady-publisher.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { runningMs, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const { gateway, connect } = await sharedGateway({
  workers: 2,
  config: [
    'routes:',
    '  telemetry: { match: devices/+/telemetry, rate: { limit: 1000/s, burst: 1000 } }',
    'limits: { sessionsPerIdentity: 64, connectionsPerIdentity: 64 }',
  ].join('\n'),
});
const port = gateway.httpsPort;
const { workers } = gateway.run();
const be = await gateway.service('be', 'backend');
const d2 = await gateway.device('d2');

/** From the return of the command to the end of every connection: a second, and one for a machine with other work. */
const endsWithinMs = 1_000;

let clientIds = 0;

interface Live {
  readonly client: RawMqtt;
  readonly ticket: Buffer;
}

async function live(
  identity: Identity,
  tls: 'TLSv1.2' | 'TLSv1.3',
  version: MqttVersion,
): Promise<Live> {
  const client = await RawMqtt.open({
    over: 'websocket',
    port,
    identity,
    version,
    minVersion: tls,
    maxVersion: tls,
  });
  clientIds += 1;
  assert.equal((await client.connect({ clientId: `c${clientIds}` })).code, 0);
  return { client, ticket: await client.session() };
}

async function everywhere(identity: Identity): Promise<readonly Live[]> {
  const all: Live[] = [];
  for (const tls of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const version of [4, 5] as const) {
      const found = await onEachWorker(gateway, workers, () => live(identity, tls, version));
      all.push(...found.values());
    }
  }
  return all;
}

async function assertCutOff(all: readonly Live[], returned: number): Promise<void> {
  for (const { client } of all) {
    const { at, disconnect, closeCode } = await within(
      client.ended,
      20_000,
      'the end of a session',
    );
    assert.ok(at - returned < endsWithinMs, `ended ${at - returned} ms after`);
    assert.deepEqual([disconnect, closeCode], [client.version === 5 ? 0x98 : undefined, 1000]);
  }
}

/** d2 lives through everything that `happens`, over WebSocket too: every message arrives once. */
async function undisturbed(happens: () => Promise<void>): Promise<void> {
  using device = await RawMqtt.open({ over: 'websocket', port, identity: d2 });
  assert.equal((await device.connect({ clientId: 'd2' })).code, 0);
  using backend = await connect(be, { clientId: 'be' });
  assert.deepEqual(await backend.subscribe('devices/d2/telemetry'), [1]);
  const publisher = new SteadyPublisher(device, 'devices/d2/telemetry');
  try {
    await happens();
  } finally {
    const sent = await publisher.stop();
    await backend.message(({ payload }) => payload === `{"n":${sent}}`);
    assert.deepEqual(
      backend.messages.map(({ payload }) => payload),
      Array.from({ length: sent }, (_, n) => `{"n":${n + 1}}`),
    );
    assert.ok(sent > 0 && !device.isEnded);
  }
}

for (const action of ['suspend', 'quarantine', 'revoke']) {
  test(`${action} ends every session at once, and none can be opened`, async () => {
    const identity = await gateway.device(`for-${action}`);
    const all = await everywhere(identity);
    await undisturbed(async () => {
      await gateway.ok('device', action, identity.id);
      await assertCutOff(all, runningMs());
      for (const { ticket } of all) {
        for (const session of [undefined, ticket]) {
          // Turned away as HTTP: the WebSocket is not opened.
          const again = RawMqtt.open({ over: 'websocket', port, identity, session });
          await assert.rejects(again, /no WebSocket: 403/);
        }
      }
    });
  });
}

test('a connection that has not said CONNECT yet is let no further', async () => {
  const identity = await gateway.device('between');
  using client = await RawMqtt.open({ over: 'websocket', port, identity });
  await gateway.ok('device', 'suspend', 'between');
  assert.equal((await client.connect()).code, 0x8a);
  assert.equal((await within(client.ended, 5_000, 'the end')).closeCode, 1000);
});

test('a session that answers neither DISCONNECT nor close is cut off all the same', async () => {
  const identity = await gateway.device('deaf');
  const { client } = await live(identity, 'TLSv1.3', 5);
  // It reads nothing any more, so it never answers, and goes on sending.
  client.socket.pause();
  const sending = setInterval(() => client.send(pingreqPacket()), 25);
  try {
    await gateway.ok('device', 'suspend', 'deaf');
    const returned = runningMs();
    const { at } = await within(client.ended, 5_000, 'the end of a session that does not read');
    assert.ok(at - returned < endsWithinMs, `ended ${at - returned} ms after`);
  } finally {
    clearInterval(sending);
  }
});

test('a gateway that stops says so in MQTT and ends the WebSocket in order', async () => {
  await using stopping = await startGateway();
  const [identity] = await stopping.devices('d1');
  assert.ok(identity !== undefined);
  using client = await RawMqtt.open({ over: 'websocket', port: stopping.httpsPort, identity });
  assert.equal((await client.connect()).code, 0);
  await stopping.stop();
  const { disconnect, closeCode } = await within(client.ended, 5_000, 'the end');
  assert.deepEqual([disconnect, closeCode], [0x8b, 1000]);
});
