/** `kill -STOP` of a worker: it holds sessions and perhaps a lock, hears nothing, and must not be waited for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { allGone } from '../harness/processes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { onEachWorker } from '../harness/worker-of.ts';

test('device revoke does not wait for a stopped worker: it is killed, and its sessions with it', async () => {
  await using gateway = await startGateway({ workers: 2 });
  const d1 = await gateway.device('d1');
  const { workers } = gateway.run();
  const sessions = await onEachWorker(gateway, workers, async () => {
    const client = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1 });
    assert.equal((await client.connect()).code, 0);
    return { client };
  });
  const [stopped] = workers;
  assert.ok(stopped !== undefined);
  process.kill(stopped, 'SIGSTOP');
  const asked = performance.now();
  const result = await gateway.ok('device', 'revoke', 'd1', '--json');
  const returned = performance.now();
  assert.ok(returned - asked < 8_000, `returned after ${returned - asked} ms`);
  await allGone([stopped], 1_000);
  const endings = await Promise.all([...sessions.values()].map(({ client }) => client.ended));
  for (const { at } of endings) assert.ok(at - returned < 1_000);
  const answer = result.json();
  assert.ok(typeof answer === 'object' && answer !== null && 'standing' in answer);
  assert.equal(answer.standing, 'revoked');

  const run = await gateway.runFile(
    (now) => now.workers.length === 2 && !now.workers.includes(stopped),
  );
  const refused = await onEachWorker(gateway, run.workers, async () => {
    const client = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1 });
    return { client, code: (await client.connect()).code };
  });
  assert.deepEqual(
    [...refused.values()].map(({ code }) => code),
    [0x8a, 0x8a],
  );
  await gateway.stop();
});

test('a stopped worker is replaced without anybody asking', async () => {
  await using gateway = await startGateway({ workers: 2 });
  const d1 = await gateway.device('d1');
  const [stopped] = gateway.run().workers;
  assert.ok(stopped !== undefined);
  process.kill(stopped, 'SIGSTOP');
  const run = await gateway.runFile(
    (now) => now.workers.length === 2 && !now.workers.includes(stopped),
  );
  await allGone([stopped], 1_000);
  const served = await onEachWorker(gateway, run.workers, async () => {
    const client = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1 });
    const { code } = await client.connect({ clientId: 'd1' });
    assert.equal(code, 0);
    return { client };
  });
  assert.equal(served.size, 2);
  await gateway.stop();
});

test('a gateway with a stopped worker still ends when it is told to', async () => {
  await using gateway = await startGateway({ workers: 2, config: 'limits: { drain: 2s }' });
  const [stopped] = gateway.run().workers;
  assert.ok(stopped !== undefined);
  process.kill(stopped, 'SIGSTOP');
  await gateway.stop();
});
