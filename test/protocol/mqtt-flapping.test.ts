/** Identities that connect again and again, and networks from which nobody proves who they are: slowed down, each apart. */
import assert from 'node:assert/strict';
import { connect as tcpConnect } from 'node:net';
import { test } from 'node:test';
import type { Identity } from '../harness/gateway.ts';
import { readMetrics } from '../harness/metrics.ts';
import type { MqttVersion } from '../harness/mqtt-bytes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { runningMs, until } from '../harness/waiting.ts';

const perMinute = 8;
const { gateway, port } = await sharedGateway({
  workers: 2,
  config: [
    'limits:',
    `  connectsPerMinute: ${perMinute}`,
    '  connectPenalty: 2s',
    '  sourceFailures: 20',
    '  sourceSlowedPerSecond: 3',
    '  admissionWait: 1s',
  ].join('\n'),
});
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 !== undefined && d2 !== undefined);

const connectionRateExceeded = 0x9f;
const serverUnavailable = 3;

async function connects(
  identity: Identity,
  clientId: string,
  version: MqttVersion = 5,
): Promise<number> {
  using client = await RawMqtt.open({ port, identity, version });
  return (await client.connect({ clientId })).code;
}

test('a device that connects again and again is told so, whichever client id, version and worker; another one is not', async () => {
  const versions: readonly MqttVersion[] = [
    ...Array.from({ length: perMinute + 2 }, () => 5 as const),
    4,
  ];
  // Opened before, so that even on a slow machine hardly any time passes between one CONNECT and the next.
  const clients = await Promise.all(
    versions.map((version) => RawMqtt.open({ port, identity: d1, version })),
  );
  const codes: number[] = [];
  for (const [n, client] of clients.slice(0, perMinute).entries()) {
    codes.push((await client.connect({ clientId: `c${n % 2}` })).code);
  }
  assert.deepEqual(new Set(codes), new Set([0]));
  const beyond = await Promise.all(
    clients
      .slice(perMinute)
      .map((client, n) => client.connect({ clientId: ['c0', 'another', 'c0'][n] ?? '' })),
  );
  assert.deepEqual(
    beyond.map(({ code }) => code),
    [connectionRateExceeded, connectionRateExceeded, serverUnavailable],
  );
  for (const client of clients) client[Symbol.dispose]();
  assert.equal(await connects(d2, 'c0'), 0);
});

test('its next try is let in after a while', async () => {
  await until('it is let in', 20_000, async () => (await connects(d1, 'c0')) === 0);
});

/** A connection whose handshake fails. */
async function garbage(localAddress: string): Promise<void> {
  const socket = tcpConnect({ host: '127.0.0.1', port, localAddress });
  socket.on('error', () => {});
  socket.end('no ClientHello\r\n');
  socket.resume();
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
  });
}

test('a network whose handshakes fail is let in slowly, and the next network as before', async () => {
  await Promise.all(Array.from({ length: 100 }, (_, n) => garbage(`127.70.0.${1 + (n % 50)}`)));
  const refused = async (): Promise<number> => {
    const metrics = await readMetrics(gateway);
    return (
      metrics.sum('sallyport_admission_refused_total', { reason: 'source-failures' }) +
      metrics.sum('sallyport_admission_refused_total', { reason: 'queue-wait' })
    );
  };
  await until('some are turned away', 10_000, async () => {
    await Promise.all(Array.from({ length: 12 }, (_, n) => garbage(`127.70.0.${60 + n}`)));
    return (await refused()) > 0;
  });
  const began = runningMs();
  using client = await RawMqtt.open({ port, identity: d2, localAddress: '127.70.1.1' });
  assert.equal((await client.connect({ clientId: 'elsewhere' })).code, 0);
  // Who waits is turned away after a second; the rest is for a slow machine.
  assert.ok(runningMs() - began < 1_000, 'it did not wait');
  // Somebody honest in the slowed network has a turn, too.
  await until('it is let in', 20_000, async () => {
    try {
      using honest = await RawMqtt.open({ port, identity: d2, localAddress: '127.70.0.200' });
      return (await honest.connect({ clientId: 'honest' })).code === 0;
    } catch {
      return false;
    }
  });
});
