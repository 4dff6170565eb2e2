/**
 * A device whose key has been copied: the same certificate from two addresses, over MQTT and HTTPS, on two workers. It is
 * told once, with both addresses, and the configured rule is followed.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { readMetrics } from '../harness/metrics.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { until, within } from '../harness/waiting.ts';

/** As often as the tests want: a device is looked for on another worker once in a while only. */
const configWith = (rule: string): string =>
  `routes: { telemetry: { rate: [] } }\nanomaly: { clones: { rule: ${rule} } }`;
const gateway = await startGateway({ workers: 2, config: configWith('alert') });
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});

const busy = 0x89;
const takenOver = 0x8e;
const banned = 0x8a;
const administrative = 0x98;
const here = '127.60.0.1';
const there = '127.60.0.2';

let devices = 0;

/** One that nobody has heard of before. */
async function newDevice(): Promise<Identity> {
  devices += 1;
  return gateway.device(`d${devices}`);
}

async function ruleIs(rule: string): Promise<void> {
  gateway.configure(configWith(rule));
  await gateway.ok('reload');
}

async function attempt(identity: Identity, localAddress: string, clientId = 'c') {
  const client = await RawMqtt.open({ port: gateway.mqttsPort, identity, localAddress });
  const { code } = await client.connect({ clientId });
  return { client, code };
}

async function connect(identity: Identity, localAddress: string, clientId = 'c') {
  const { client, code } = await attempt(identity, localAddress, clientId);
  assert.equal(code, 0, `CONNACK 0x${code.toString(16)}`);
  return client;
}

interface AuditLine {
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** What the audit log says of the device's clones, as soon as it says anything. */
async function cloneLines({ id }: Identity): Promise<readonly AuditLine[]> {
  return until(`a clone of ${id} in the audit log`, 30_000, async () => {
    const audit = await gateway.ok('audit-log', 'show', '--limit', '1000', '--json');
    // The tests of the command are about its shape.
    const lines = audit.json() as readonly AuditLine[];
    const found = lines.filter((line) => line.action === 'clone' && line.target === `device/${id}`);
    return found.length > 0 ? found : undefined;
  });
}

async function shown({ id }: Identity) {
  return (await gateway.ok('device', 'show', id, '--json')).json() as {
    readonly standing: string;
    readonly reason?: string;
    readonly clone?: { readonly at: number; readonly addresses: readonly string[] };
  };
}

test('alert: two that take over from each other are one line of the audit log, counted, logged and shown', async () => {
  const device = await newDevice();
  const before = (await readMetrics(gateway)).sum('sallyport_clone_suspected_total');
  const clients = [await connect(device, here), await connect(device, there)];
  assert.equal((await shown(device)).clone, undefined, 'a device that has moved is no clone');
  for (const address of [here, there, here, there]) clients.push(await connect(device, address));
  const [line, ...more] = await cloneLines(device);
  assert.deepEqual(more, []);
  assert.match(line?.actor ?? '', /^worker:\d$/);
  assert.deepEqual([line?.detail['addresses'], line?.detail['rule']], [[here, there], 'alert']);
  const seenAt = line?.detail['seenAt'];
  assert.ok(Array.isArray(seenAt) && seenAt.length === 2);
  await gateway.log.logged(
    (entry) => entry.get('principal') === `device/${device.id}` && entry.get('rule') === 'alert',
  );
  await until('it is counted', 20_000, async () => {
    const now = (await readMetrics(gateway)).sum('sallyport_clone_suspected_total');
    return now === before + 1;
  });
  const { clone, standing } = await shown(device);
  assert.deepEqual([clone?.addresses, standing], [[here, there], 'active']);
  assert.match(
    (await gateway.ok('device', 'show', device.id)).stdout,
    /suspected clone .*127\.60\.0\.1 and 127\.60\.0\.2/,
  );
  // Each takes the session over, as always.
  const last = clients.pop();
  for (const client of clients) {
    const { disconnect } = await within(client.ended, 5_000, 'the end of the older one');
    assert.equal(disconnect, takenOver);
  }
  await last?.ping();
  await last?.close();
});

test('requests over HTTPS in turn are seen: each on a new connection, or on two that are kept alive', async () => {
  for (const keptAlive of [false, true]) {
    const device = await newDevice();
    using one = HttpsDevice.of(gateway, device, { localAddress: here });
    using two = HttpsDevice.of(gateway, device, { localAddress: there });
    await until(`it is seen, kept alive: ${keptAlive}`, 60_000, async () => {
      for (const each of [one, two]) {
        const answer = keptAlive
          ? await each.request('GET', '/api/v1/time')
          : await each.request('GET', '/api/v1/time', { headers: { Connection: 'close' } });
        assert.equal(answer.status, 200);
      }
      return (await shown(device)).clone !== undefined;
    });
    const { clone } = await shown(device);
    assert.deepEqual(clone?.addresses.toSorted(), [here, there]);
  }
});

test('a device over MQTT and its copy over HTTPS are seen', async () => {
  const device = await newDevice();
  using client = await connect(device, here);
  using copy = HttpsDevice.of(gateway, device, { localAddress: there });
  await until('it is seen', 60_000, async () => {
    assert.equal((await copy.request('GET', '/api/v1/time')).status, 200);
    assert.equal(await client.publish(`devices/${device.id}/telemetry`, '{}'), 0x10);
    return (await shown(device)).clone !== undefined;
  });
});

test('a device that connects again and again from one address, with several sessions, is no clone', async () => {
  const device = await newDevice();
  for (let n = 0; n < 12; n += 1) {
    using _ = await connect(device, here, `c${n % 3}`);
  }
  assert.equal((await shown(device)).clone, undefined);
});

test('take-over: who comes back ends what came from the other address, whatever its client id', async () => {
  await ruleIs('take-over');
  const device = await newDevice();
  using first = await connect(device, here, 'x');
  using second = await connect(device, there, 'y');
  using third = await connect(device, here, 'z');
  const { disconnect } = await within(second.ended, 5_000, 'the end of the copy');
  assert.equal(disconnect, takenOver);
  await first.ping();
  await third.ping();
  await cloneLines(device);
});

test('refuse: the copy is told that we are busy, the device stays', async () => {
  await ruleIs('refuse');
  const device = await newDevice();
  using client = await connect(device, here);
  for (const clientId of ['c', 'another']) {
    using refused = (await attempt(device, there, clientId)).client;
    await within(refused.ended, 5_000, 'the end of the copy');
  }
  const { client: again, code } = await attempt(device, there);
  assert.equal(code, busy);
  await within(again.ended, 5_000, 'the end of the copy');
  using copy = HttpsDevice.of(gateway, device, { localAddress: there });
  assert.equal((await copy.request('GET', '/api/v1/time')).status, 503);
  await client.ping();
  const [line] = await cloneLines(device);
  assert.deepEqual(line?.detail['addresses'], [there, here]);
  await client.close();
  // Its end is known to the other worker a moment later.
  await until('the other address may', 20_000, async () => {
    const next = await attempt(device, there);
    next.client[Symbol.dispose]();
    return next.code === 0;
  });
});

test('quarantine: the device is quarantined and out, and an operator releases it', async () => {
  await ruleIs('quarantine');
  const device = await newDevice();
  await connect(device, here);
  await connect(device, there);
  const { client: last, code: answered } = await attempt(device, here);
  const { disconnect } = await within(last.ended, 30_000, 'the end of the device');
  // The quarantine may be there before the answer is.
  if (answered === 0) assert.equal(disconnect, administrative);
  else assert.equal(answered, banned);
  const { standing, reason } = await shown(device);
  assert.deepEqual([standing, reason], ['quarantined', `used from ${here} and ${there}`]);
  const { client, code } = await attempt(device, here);
  assert.notEqual(code, 0);
  await within(client.ended, 30_000, 'the end of a quarantined device');
  await gateway.ok('device', 'release', device.id);
  using released = await connect(device, here);
  await released.ping();
  const audit = (await gateway.ok('audit-log', 'show', '--limit', '1000', '--json')).json();
  // The tests of the command are about its shape.
  const acts = (audit as readonly AuditLine[])
    .filter(({ target }) => target === `device/${device.id}`)
    .map(({ actor, action }) => `${actor.split(':')[0]} ${action}`);
  assert.deepEqual(acts.slice(-3), ['worker clone', 'worker quarantine', 'local release']);
});
