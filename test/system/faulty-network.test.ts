/**
 * A bad network between devices and gateway: bytes late and in pieces, connections that are reset, fall silent or are
 * cut within a packet. What the gateway has acknowledged arrives all the same, in order for each device.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend } from '../harness/backend.ts';
import { FaultyProxy } from '../harness/faulty-proxy.ts';
import { startGateway } from '../harness/gateway.ts';
import { NumberedLoad } from '../harness/numbered-load.ts';
import { until } from '../harness/waiting.ts';

const seed = 11;
/** Of each kind of end, over both protocols, before the network heals. */
const endsOfEach = 3;
const limitMs = 60_000;

test('over a network that loses connections nothing acknowledged is lost, over MQTT and HTTPS', async () => {
  await using backend = await startBackend();
  const to = `to: [ { http: '${backend.url}', batch: 20, batchWait: 30ms, retry: { min: 50ms, max: 200ms } } ]`;
  await using gateway = await startGateway({
    workers: 2,
    config: `routes:
  telemetry: { match: devices/+/telemetry, rate: [], ${to} }
  diagnostics: { match: devices/+/diagnostics, rate: [], ${to} }
limits: { identityRates: { device: { limit: 100000/s, burst: 100000 } } }`,
  });
  // Above what a handshake takes, or no device would ever get anywhere.
  const faults = { seed, delayMs: 4, pieceBytes: 600, bytes: 24_000 };
  await using mqtts = await FaultyProxy.start({ ...faults, port: () => gateway.mqttsPort });
  await using https = await FaultyProxy.start({ ...faults, port: () => gateway.httpsPort });
  const identities = await gateway.devices(...Array.from({ length: 6 }, (_, i) => `bad-${i}`));
  const load = new NumberedLoad({
    identities,
    gateway: () => gateway,
    ports: { mqtts: mqtts.port, https: https.port },
    everyMs: 10,
  });

  await load.taken(10, limitMs);
  await until(`${endsOfEach} connections that came to each end`, limitMs, () =>
    [mqtts, https].every(({ ended }) => Object.values(ended).every((count) => count >= endsOfEach)),
  );
  for (const proxy of [mqtts, https]) proxy.heal();
  await load.taken(10);
  await load.stop();

  const record = await load.arrived(backend);
  assert.deepEqual(load.refusals, []);
  assert.ok(load.repeated > 0, 'no answer was lost: the network was too good');
  assert.ok(load.connections >= identities.length + 6 * endsOfEach, `${load.connections}`);
  assert.ok(record.arrivals.length >= load.promised().length);
});
