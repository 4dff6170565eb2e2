/**
 * A device whose certificate comes to its end is told so by a command, once it may renew, and operators see it in the
 * metrics and the log. The registry is made to think that the certificate is older than it is: nobody waits two years.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { readMetrics } from '../harness/metrics.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const dayMs = 86_400_000;
const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const config = 'enrolment: { expiryCheck: 1s }';

/** Makes 700 of the 730 days of a device's certificate be over. */
function age(dataDir: string, id: string): void {
  const database = new DatabaseSync(join(dataDir, 'control', 'registry.db'));
  try {
    const { changes } = database
      .prepare(
        `UPDATE certificates SET not_before = not_before - ?1, not_after = not_after - ?1
         WHERE principal = ?2`,
      )
      .run(700 * dayMs, `device/${id}`);
    assert.equal(Number(changes), 1);
  } finally {
    database.close();
  }
}

async function listener(gateway: Gateway, identity: Identity): Promise<RawMqtt> {
  const client = await RawMqtt.open({ port: gateway.mqttsPort, identity });
  await client.connect({ clientId: identity.id });
  await client.subscribe(`devices/${identity.id}/commands/#`);
  return client;
}

/** As soon as identities have been looked at since the gateway began. */
function looked(gateway: Gateway): Promise<unknown> {
  return until('the metric', 60_000, async () => {
    const metrics = await readMetrics(gateway);
    const within = (days: number): number =>
      metrics.sum('sallyport_control_certificates_expiring', { days: String(days) });
    return within(30) === 1 && within(7) === 0 && within(0) === 0;
  });
}

test('the command renew comes once, also when the gateway begins anew; another device hears nothing', async () => {
  const first = await startGateway({ folder, config });
  const [ending, fresh] = await first.devices('ending', 'fresh');
  assert.ok(ending !== undefined && fresh !== undefined);
  await first.stop();
  age(first.dataDir, 'ending');

  const second = await startGateway({ folder, config });
  {
    using device = await listener(second, ending);
    const { topic, payload } = await device.message(() => true);
    assert.equal(topic, 'devices/ending/commands/renew');
    const notice = JSON.parse(payload) as { notAfter: string }; // asserted in the next lines
    assert.deepEqual(Object.keys(notice), ['notAfter'], 'nothing listens for EST here');
    const left = Date.parse(notice.notAfter) - Date.now();
    assert.ok(left > 29 * dayMs && left < 31 * dayMs, notice.notAfter);
    await device.ping();
  }
  await second.log.logged(
    (line) =>
      line.get('msg') === 'a certificate expires soon' &&
      line.get('principal') === 'device/ending' &&
      line.get('days') === 30,
  );
  await second.stop();

  await using third = await startGateway({ folder, config });
  await looked(third);
  for (const identity of [ending, fresh]) {
    using device = await listener(third, identity);
    await third.ok('command', 'send', identity.id, 'fence');
    await device.message(({ topic }) => topic.endsWith('/fence'));
    assert.equal(device.messages.length, 1, identity.id);
  }
});
