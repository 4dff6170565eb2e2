/**
 * Several windows of one identity at once, on two workers and both protocols, what HTTPS says of them, and what is left of
 * them when a worker is killed or the gateway starts anew.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

/** During a test next to nothing flows back into a day. */
const config = [
  'routes:',
  '  telemetry:',
  '    rate: [ { limit: 5/h, burst: 10 }, { limit: 24/day, burst: 14 } ]',
  '  status: { match: devices/+/status, rate: [ { limit: 20/s, burst: 2 }, { limit: 24/day, burst: 14 } ] }',
  '  unlimited: { match: devices/+/diagnostics }',
  'limits: { sessionsPerIdentity: 100, identityRates: { device: [] } }',
].join('\n');

const folder = temporaryFolder();
let gateway = await startGateway({ config, workers: 2, folder });
after(async () => {
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const quotaExceeded = 0x97;
let devices = 0;

async function freshDevice(): Promise<Identity> {
  devices += 1;
  return gateway.device(`d${devices}`);
}

async function overMqtt(of: Gateway, device: Identity): Promise<boolean> {
  using client = await RawMqtt.open({ port: of.mqttsPort, identity: device });
  assert.equal((await client.connect({})).code, 0);
  return (await client.publish(`devices/${device.id}/telemetry`, '{}')) !== quotaExceeded;
}

/** `{"route": {"r": …, "t": …}, …}`, as a client would read the field. */
function parsed(answer: HttpAnswer, field: string): Record<string, Record<string, number>> {
  const text = answer.headers.get(field) ?? '';
  return Object.fromEntries(
    text.split(', ').map((item) => {
      const [name = '', ...parameters] = item.split(';');
      const values = parameters.map((parameter) => {
        const [key = '', value = ''] = parameter.split('=');
        return [key, Number(value)] as const;
      });
      return [JSON.parse(name) as string, Object.fromEntries(values)];
    }),
  );
}

test('what is left of each window is said with every answer, and a refusal says when to come again', async () => {
  const device = await freshDevice();
  using client = HttpsDevice.of(gateway, device);
  for (let sent = 1; sent <= 11; sent += 1) {
    const answer = await client.post('telemetry', '{}');
    assert.equal(answer.status, 202);
    assert.equal(
      answer.headers.get('ratelimit-policy'),
      '"route";q=5;w=3600, "route-2";q=24;w=86400',
    );
    const { route, 'route-2': day } = parsed(answer, 'ratelimit');
    assert.deepEqual([route?.['r'], day?.['r']], [Math.min(5, 11 - sent), 15 - sent]);
    const [routeReset, dayReset] = [route?.['t'] ?? 0, day?.['t'] ?? 0];
    assert.ok(routeReset <= sent * 720 && routeReset > (sent - 1) * 720, `${routeReset}`);
    assert.ok(dayReset <= sent * 3_600 && dayReset > (sent - 1) * 3_600, `${dayReset}`);
  }
  const refused = await client.post('telemetry', '{}');
  assert.deepEqual([refused.status, problemCode(refused)], [429, 'rate']);
  const seconds = Number(refused.headers.get('retry-after'));
  assert.ok(seconds > 600 && seconds <= 720, `${seconds}`);
  assert.equal(parsed(refused, 'ratelimit')['route']?.['r'], 0);
  assert.equal(client.sockets.length, 1);
});

test('without a limit nothing is said', async () => {
  using client = HttpsDevice.of(gateway, await freshDevice());
  const answer = await client.post('diagnostics', '{}');
  assert.equal(answer.status, 202);
  assert.ok(![...answer.headers.keys()].some((name) => name.startsWith('ratelimit')));
});

test('the window of the day has its say across workers and protocols, and Retry-After is its own', async () => {
  const device = await freshDevice();
  const topic = `devices/${device.id}/status`;
  const { workers } = gateway.run();
  const found = await onEachWorker(gateway, workers, async () => ({
    client: await RawHttps.open({ port: gateway.httpsPort, identity: device }),
  }));
  const clients = [...found.values()].map(({ client }) => client);
  using mqtt = await RawMqtt.open({ port: gateway.mqttsPort, identity: device });
  assert.equal((await mqtt.connect({})).code, 0);
  let accepted = 0;
  let last: HttpAnswer | undefined;
  await until('the day is used up', 60_000, async () => {
    for (const client of clients) {
      client.send(requestText('POST', '/api/v1/status', '{}'));
      last = await client.answer();
      if (last.status === 202) accepted += 1;
      assert.ok([202, 429].includes(last.status));
    }
    if ((await mqtt.publish(topic, '{}')) !== quotaExceeded) accepted += 1;
    return Number(last?.headers.get('retry-after')) > 60;
  });
  assert.equal(accepted, 15);
  const seconds = Number(last?.headers.get('retry-after'));
  assert.ok(seconds > 3_400 && seconds <= 3_600, `${seconds}`);
  for (const client of clients) client[Symbol.dispose]();
});

test('a worker that is killed takes no more than it was lent; after a start the windows begin anew', async () => {
  const device = await freshDevice();
  let accepted = 0;
  for (let sent = 0; sent < 6; sent += 1) accepted += (await overMqtt(gateway, device)) ? 1 : 0;
  assert.equal(accepted, 6);
  const [first] = gateway.run().workers;
  assert.ok(first !== undefined);
  process.kill(first, 'SIGKILL');
  await gateway.runFile(({ workers }) => workers.length === 2 && !workers.includes(first));
  for (let sent = 0; sent < 20; sent += 1) accepted += (await overMqtt(gateway, device)) ? 1 : 0;
  // Its home was the one that was killed, or it was not.
  assert.ok(accepted >= 11 && accepted <= 6 + 11, `${accepted}`);

  assert.equal(await overMqtt(gateway, device), false);
  await gateway.stop();
  gateway = await startGateway({ config, workers: 2, folder });
  assert.equal(await overMqtt(gateway, device), true);
});
