/** A short part of `node test/soak/nemesis.ts`: everything that hurts, once, in an order that is always the same. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { FleetHistory } from '../harness/fleet-history.ts';
import { startGateway } from '../harness/gateway.ts';
import { hurtsOf, nemesisConfig, randomOf } from '../harness/nemesis.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const folder = temporaryFolder();
const options = { workers: 2, config: nemesisConfig, folder };
let gateway = await startGateway(options);
after(async () => {
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** Messages that are promised between two of them. */
const between = 60;

test('whatever dies: QoS 1 is not lost, QoS 2 comes once, nothing crosses, who is suspended is not served', async () => {
  const ids = Array.from({ length: 6 }, (_, i) => `d${i + 1}`);
  await using fleet = new FleetHistory({
    devices: await gateway.devices(...ids),
    service: await gateway.service('be', 'backend'),
    gateway: () => gateway,
    everyMs: 20,
  });
  await fleet.begins();
  const restart = async (): Promise<void> => {
    await gateway.kill();
    gateway = await startGateway(options);
  };
  const hurts = hurtsOf({
    gateway: () => gateway,
    fleet,
    devices: ids,
    restart,
    disk: undefined,
    random: randomOf(1),
  });
  for (const [name, hurt] of hurts) {
    const target = fleet.promised + between;
    await until(`${between} more promises before: ${name}`, 60_000, () => fleet.promised >= target);
    await hurt();
  }
  await gateway.runFile(({ ready, workers }) => ready && workers.length === 2, 40_000);
  assert.deepEqual(await fleet.settle(), []);
});
