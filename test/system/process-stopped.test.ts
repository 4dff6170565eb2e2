/** `kill -STOP` of a worker: it holds sessions and perhaps a lock, hears nothing, and must not be waited for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { allGone, hasOpen, isStopped } from '../harness/processes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { runningMs, until } from '../harness/waiting.ts';
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
  const asked = runningMs();
  const result = await gateway.ok('device', 'revoke', 'd1', '--json');
  const returned = runningMs();
  // Most of it is the start of the command, which takes its time on a slow machine.
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

test('a worker does not open the store while another one is stopped that may be writing to it', async () => {
  await using gateway = await startGateway({ workers: 2 });
  const { workers } = gateway.run();
  const [stopped, killed] = workers;
  assert.ok(stopped !== undefined && killed !== undefined);
  const store = '/store/data.mdb';
  assert.ok(hasOpen(stopped, store));
  process.kill(stopped, 'SIGSTOP');
  await until('it has stopped', 20_000, () => isStopped(stopped));
  process.kill(killed, 'SIGKILL');
  let early: readonly number[] = [];
  await until('the end of the stopped worker', 60_000, () => {
    const fresh = gateway.processes().workers.filter((pid) => !workers.includes(pid));
    const opened = fresh.filter((pid) => hasOpen(pid, store));
    if (!isStopped(stopped)) return true;
    early = [...early, ...opened];
    return false;
  });
  assert.deepEqual(early, []);
  const run = await gateway.runFile(
    (now) => now.workers.length === 2 && !now.workers.some((pid) => workers.includes(pid)),
  );
  for (const pid of run.workers) assert.ok(hasOpen(pid, store));
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
