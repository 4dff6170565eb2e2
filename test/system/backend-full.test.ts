/**
 * A backend that is down costs a bounded part of the disk: when its spool is full devices are told so in their own
 * protocol, what they were promised before that arrives when the backend is back, and then they are served again.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startBackend } from '../harness/backend.ts';
import type { Backend } from '../harness/backend.ts';
import { curl } from '../harness/curl.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { problemCode } from '../harness/https-answer.ts';
import { mosquittoPub } from '../harness/mosquitto.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { spoolOf } from '../harness/spool-state.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const messages = 20;
const unavailable = 0x83;
const [counted, weighed] = [await startBackend(), await startBackend()];
after(async () => {
  await counted[Symbol.asyncDispose]();
  await weighed[Symbol.asyncDispose]();
});
const retry = 'retry: { min: 50ms, max: 100ms }';
const { gateway, connect } = await sharedGateway({
  workers: 2,
  config: `
routes:
  telemetry: { match: devices/+/telemetry, rate: [], spool: { messages: ${messages} }, to: [ { http: '${counted.url}', ${retry} } ] }
  diagnostics: { match: devices/+/diagnostics, rate: [], spool: { bytes: 1MiB }, to: [ { http: '${weighed.url}', batch: 10, ${retry} } ] }
limits: { identityRates: { device: { limit: 100000/s, burst: 100000 } } }
`,
});
const [d1, d2] = await gateway.devices('d1', 'd2');
assert.ok(d1 && d2);

test('a spool with its number of messages: each protocol says unavailable, and nothing that was promised is lost', async () => {
  await counted.kill();
  using device = HttpsDevice.of(gateway, d1);
  // One device that waits for each answer: what one worker has let in it knows exactly.
  for (let seq = 1; seq <= messages; seq += 1) {
    assert.equal((await device.post('telemetry', { seq })).status, 202);
  }
  const refused = await device.post('telemetry', { seq: messages + 1 });
  assert.equal(refused.status, 503);
  assert.equal(problemCode(refused), 'unavailable');
  assert.match(refused.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
  // The other worker looks before long at what this one has let in.
  const clients = await onEachWorker(gateway, gateway.run().workers, async () => ({
    client: await connect(d2),
  }));
  using client = [...clients.values()][0]?.client ?? assert.fail();
  using another = [...clients.values()][1]?.client ?? assert.fail();
  await until('0x83 on each worker', 20_000, async () => {
    const probe = ['devices/d2/telemetry', '{"kind":"probe"}'] as const;
    const codes = [await client.publish(...probe), await another.publish(...probe)];
    return codes.every((code) => code === unavailable);
  });
  const curled = await curl(gateway, d2, '/api/v1/telemetry', '-d', '{"kind":"probe"}');
  assert.equal(curled.status, 503);
  assert.equal(await client.publish('devices/d2/telemetry', '{"seq":2}'), unavailable);
  const { waiting } = await spoolOf(gateway, 'telemetry', (row) => row.waiting >= messages);
  // 3.1.1 has no code for it.
  using old = await connect(d2, { version: 4 });
  await assert.rejects(old.publish('devices/d2/telemetry', '{"seq":3}'), /the connection ended/);
  const target = { port: gateway.mqttsPort, identity: d2 };
  const five = await mosquittoPub(target, 'devices/d2/telemetry', '{"seq":4}');
  assert.match(five.output, /Publish 1 failed: Implementation specific error/);
  // Dropped, and no reason to end a connection.
  client.publishUnacknowledged('devices/d2/telemetry', '{"seq":5}');
  // Other topics are not this backend's.
  assert.equal(await client.publish('devices/d2/diagnostics', '{"seq":6}'), 0);
  assert.equal((await spoolOf(gateway, 'telemetry', () => true)).waiting, waiting);

  await counted.start();
  const promised = Array.from({ length: messages }, (_, i) => ({ device: 'd1', seq: i + 1 }));
  await counted.recorded('all', (record) => record.missing(promised).length === 0);
  await spoolOf(gateway, 'telemetry', (row) => row.waiting === 0);
  counted.record().assertSound(promised);
  // Not one of those that were refused.
  assert.deepEqual(
    counted.record().arrivals.flatMap(({ device: id, seq }) => (id === 'd2' ? (seq ?? []) : [])),
    [],
  );

  // Each worker looks before long whether there is room.
  await until('202', 20_000, async () => {
    return (await device.post('telemetry', { seq: messages + 1 })).status === 202;
  });
  await until('0 on the worker of this client', 20_000, async () => {
    return (await client.publish('devices/d2/telemetry', '{"seq":7}')) === 0;
  });
  client.publishUnacknowledged('devices/d2/telemetry', '{"seq":8}');
  await counted.arrival(({ device: id, seq }) => id === 'd2' && seq === 8);
  await counted.arrival(({ device: id, seq }) => id === 'd1' && seq === messages + 1);
});

test('a spool with its bytes: large messages are refused before the disk has taken more', async () => {
  await weighed.kill();
  using client = await connect(d1);
  const filling = 'x'.repeat(32 * 1024);
  let promised = 0;
  for (;;) {
    const payload = JSON.stringify({ seq: promised + 1, filling });
    const code = await client.publish('devices/d1/diagnostics', payload);
    if (code === unavailable) break;
    assert.equal(code, 0);
    promised += 1;
    assert.ok(promised < 64, 'no end');
  }
  assert.ok(promised > 16, `${promised}`);
  const { bytes } = await spoolOf(gateway, 'diagnostics', ({ waiting }) => waiting >= promised);
  assert.ok(bytes <= 1024 ** 2 * 1.1, `${bytes}`);

  await weighed.start();
  await arrived(weighed, promised);
  // What has arrived leaves the spool a moment later.
  await until('room', 20_000, async () => {
    return (await client.publish('devices/d1/diagnostics', '{"seq":1000}')) === 0;
  });
  await weighed.arrival(({ seq }) => seq === 1000);
});

test('a spool that is full and empty again by turns, under load, loses nothing that was promised', async () => {
  const load = await Promise.all(
    [d1, d2].map(async (identity) => {
      const client = await connect(identity);
      const promised: { device: string; seq: number }[] = [];
      const stop = new AbortController();
      const done = (async () => {
        for (let seq = 10_000; !stop.signal.aborted; seq += 1) {
          const code = await client.publish(
            `devices/${identity.id}/telemetry`,
            JSON.stringify({ seq }),
          );
          if (code === 0) promised.push({ device: identity.id, seq });
          else assert.equal(code, unavailable);
        }
      })();
      done.catch(() => {});
      return { client, promised, stop, done };
    }),
  );
  for (let round = 1; round <= 3; round += 1) {
    const full = gateway.log.end;
    await counted.kill();
    await gateway.log.logged(
      (line) =>
        line.get('spool') === 'telemetry/backend' &&
        line.get('msg') === 'a spool is full: devices are told unavailable',
      full,
    );
    await counted.start();
    const before = load.map(({ promised }) => promised.length);
    await until('new promises', 30_000, () =>
      load.every(({ promised }, i) => promised.length > (before[i] ?? 0) + messages),
    );
  }
  for (const { client, stop, done } of load) {
    stop.abort();
    await done;
    client[Symbol.dispose]();
  }
  const promised = load.flatMap((each) => each.promised);
  await counted.recorded('all', (record) => record.missing(promised).length === 0);
  counted.record().assertSound(promised);
});

async function arrived(backend: Backend, upTo: number): Promise<void> {
  const promised = Array.from({ length: upTo }, (_, i) => ({ device: 'd1', seq: i + 1 }));
  await backend.recorded('all', (record) => record.missing(promised).length === 0);
  backend.record().assertSound(promised);
}
