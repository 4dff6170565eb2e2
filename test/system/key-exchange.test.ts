/** By which group the keys of each connection were agreed is in the log and in the metrics, whatever the protocol. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { curl } from '../harness/curl.ts';
import { readMetrics } from '../harness/metrics.ts';
import { mosquittoPub } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until } from '../harness/waiting.ts';

const { gateway, connect } = await sharedGateway();

/** Groups of the connections of a device, in their order. */
function groupsOf(id: string): readonly unknown[] {
  return gateway.log
    .lines((line) => line.get('msg') === 'connected' && line.get('principal') === `device/${id}`)
    .map((line) => line.get('group'));
}

test('a client that knows the hybrid post-quantum exchange gets it, and the log says so', async () => {
  const device = await gateway.device('hybrid');
  using client = await connect(device);
  assert.ok(client);
  await until('the line of the log', 30_000, () => groupsOf('hybrid').length === 1);
  assert.deepEqual(groupsOf('hybrid'), ['X25519MLKEM768']);
});

test('one that does not gets X25519, over MQTT and HTTPS', async () => {
  const identity = await gateway.device('classic');
  const topic = 'devices/classic/telemetry';
  assert.equal((await mosquittoPub({ port: gateway.mqttsPort, identity }, topic, '{}')).code, 0);
  assert.equal((await curl(gateway, identity, '/api/v1/telemetry', '-d', '{}')).status, 202);
  await until('the lines of the log', 30_000, () => groupsOf('classic').length === 2);
  assert.deepEqual(groupsOf('classic'), ['X25519', 'X25519']);
});

test('the metrics count handshakes by group', async () => {
  await until('the workers have reported', 30_000, async () => {
    const metrics = await readMetrics(gateway);
    const count = (group: string): number =>
      metrics.sum('sallyport_tls_handshakes_total', { group });
    return count('X25519MLKEM768') >= 1 && count('X25519') >= 2;
  });
});
