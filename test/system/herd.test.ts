/**
 * Hundreds of clients that connect at once: they come in one after the other, none is lost, and whoever is there already
 * or comes from elsewhere notices little of it.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { Herd } from '../harness/herd.ts';
import { readMetrics } from '../harness/metrics.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until } from '../harness/waiting.ts';

/** Below what this gateway could do, so that the pace is what is seen and not the machine. */
const perSecond = 50;
const { gateway, port, connect } = await sharedGateway({
  config: [
    'limits:',
    `  handshakesPerSecond: ${perSecond}`,
    // Only the ceiling counts here: what else the machine is doing does not.
    '  eventLoopDelay: 10s',
    '  sessionsPerIdentity: 2000',
    '  admissionQueue: 350',
  ].join('\n'),
});
const fleet = await gateway.service('fleet', 'backend');
const live = await gateway.service('live', 'backend');

const herds: Herd[] = [];
after(() => {
  for (const herd of herds) herd[Symbol.dispose]();
});

/** Of the fleet, from networks that no other herd has. */
function herdOf(clients: number): Herd {
  const manifest = gateway.at('fleet.json');
  writeFileSync(manifest, JSON.stringify([fleet]));
  // 127.80.0.0, 127.81.0.0, …
  const firstNetwork = (80 + herds.length) << 8;
  const herd = new Herd({ port, manifest, clients, firstNetwork, retries: false });
  herds.push(herd);
  return herd;
}

test('a herd comes in at the pace of the gateway, all of it, while live sessions and newcomers are served', async () => {
  using session = await connect(live, { clientId: 'live' });
  const herd = herdOf(350);
  await until('the herd is at the door', 60_000, async () => {
    return (await readMetrics(gateway)).sum('sallyport_admission_waiting') > 100;
  });
  let insideBeforeNewcomer: number | undefined;
  await until('the herd is in', 60_000, async () => {
    // Answered all the time, or this fails by itself.
    await session.ping();
    if (insideBeforeNewcomer === undefined && herd.now.inside > 20) {
      using newcomer = await RawMqtt.open({ port, identity: live, localAddress: '127.99.1.1' });
      assert.equal((await newcomer.connect({ clientId: 'newcomer' })).code, 0);
      insideBeforeNewcomer = herd.now.inside;
    }
    return herd.isDone;
  });
  const { inside, failed, elapsedMs } = herd.now;
  assert.deepEqual([inside, failed], [350, 0]);
  assert.ok(
    insideBeforeNewcomer !== undefined && insideBeforeNewcomer < 350,
    'its turn came first',
  );
  const leastMs = (350 / perSecond) * 1_000;
  const allMs = elapsedMs.at(-1) ?? 0;
  assert.ok(allMs > 0.8 * leastMs, `all in after ${allMs} ms`);
});

test('beyond what may wait connections are closed at once, and counted', async () => {
  const herd = herdOf(700);
  await until('all have come in or were refused', 60_000, () => herd.isDone);
  const { failed } = herd.now;
  assert.ok(failed >= 150 && failed <= 400, `${failed} were refused`);
  const reason = 'queue-full';
  await until('they are counted', 20_000, async () => {
    const metrics = await readMetrics(gateway);
    return metrics.sum('sallyport_admission_refused_total', { reason }) === failed;
  });
  const line = await gateway.log.logged((entry) => entry.get('reason') === reason);
  assert.match(String(line.get('remote')), /^127\.81\./);
  using session = await connect(live, { clientId: 'after' });
  await session.ping();
});
