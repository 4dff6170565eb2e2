/**
 * Commands on their whole way: a service over MQTT or an operator sends one, it waits for its device whatever happens
 * meanwhile, reaches it by long poll, event stream or MQTT on whichever worker, and is gone when it is acknowledged.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { jsonOf, problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { mosquittoPub, MosquittoSub } from '../harness/mosquitto.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const { gateway, connect, port: mqttsPort } = await sharedGateway({ workers: 2 });
const port = gateway.httpsPort;
const { workers } = gateway.run();
const be = await gateway.service('be', 'backend');
let devices = 0;

async function freshDevice(): Promise<Identity> {
  devices += 1;
  return gateway.device(`d${devices}`);
}

interface Given {
  readonly id: string;
  readonly topic: string;
  readonly payload?: unknown;
  readonly payload_base64?: string;
  readonly at: string;
}

/** Of an answer with commands, which is what docs/openapi describes. */
function given(answer: HttpAnswer): readonly Given[] {
  assert.equal(answer.status, 200, answer.body.toString());
  return jsonOf(answer) as Given[];
}

const path = '/api/v1/commands';

async function waiting(device: HttpsDevice, query = ''): Promise<readonly Given[]> {
  const answer = await device.request('GET', `${path}${query}`);
  return answer.status === 204 ? [] : given(answer);
}

const names = (commands: readonly Given[]): readonly string[] =>
  commands.map(({ topic }) => topic.split('/').slice(3).join('/'));

async function publishedByService(to: Identity, name: string, payload = '{}'): Promise<void> {
  const topic = `devices/${to.id}/commands/${name}`;
  const sent = await mosquittoPub({ port: mqttsPort, identity: be }, topic, payload);
  assert.equal(sent.code, 0, sent.output);
  assert.doesNotMatch(sent.output, /warning|error|refused/i);
}

/** @returns its id. */
async function sentByOperator(to: Identity, name: string, payload = '{}'): Promise<string> {
  const sent = await gateway.ok('command', 'send', to.id, name, payload, '--json');
  return (sent.json() as { readonly id: string }).id; // as docs/cli.md says
}

test('from a service and from an operator: in order, as it was sent, again until it is acknowledged', async () => {
  const identity = await freshDevice();
  using device = HttpsDevice.of(gateway, identity);
  assert.equal((await device.request('GET', path)).status, 204);
  const before = Date.now();
  await publishedByService(identity, 'config/set', '{ "interval": 60 }');
  const id = await sentByOperator(identity, 'reboot', '{"in":"5s"}');
  await publishedByService(identity, 'say', 'hello');
  const commands = await waiting(device);
  assert.deepEqual(
    commands.map(({ topic, payload, payload_base64: base64 }) => [topic, payload, base64]),
    [
      [`devices/${identity.id}/commands/config/set`, { interval: 60 }, undefined],
      [`devices/${identity.id}/commands/reboot`, { in: '5s' }, undefined],
      [`devices/${identity.id}/commands/say`, undefined, Buffer.from('hello').toString('base64')],
    ],
  );
  assert.equal(commands[1]?.id, id);
  for (const { at } of commands) {
    assert.ok(Date.parse(at) >= before - 1 && Date.parse(at) <= Date.now(), at);
  }
  assert.deepEqual(await waiting(device), commands);
  assert.equal((await device.request('DELETE', `${path}/${id}`)).status, 204);
  const again = await device.request('DELETE', `${path}/${id}`);
  assert.deepEqual([again.status, problemCode(again)], [404, 'not-found']);
  assert.deepEqual(await waiting(device), [commands[0], commands[2]]);
});

test("another device neither sees a command nor acknowledges it, and neither does another's name in the path", async () => {
  const [identity, other] = [await freshDevice(), await freshDevice()];
  const id = await sentByOperator(identity, 'go');
  using device = HttpsDevice.of(gateway, identity);
  using stranger = HttpsDevice.of(gateway, other);
  assert.deepEqual(await waiting(stranger), []);
  for (const name of [id, `${identity.id}/${id}`, `../${identity.id}/${id}`]) {
    assert.equal((await stranger.request('DELETE', `${path}/${name}`)).status, 404, name);
  }
  using stream = await stranger.eventStream(id);
  assert.deepEqual(names(await waiting(device)), ['go']);
  assert.deepEqual(stream.events, []);
});

test('polls that wait already are answered at once, on whichever worker; one that waits in vain says so', async () => {
  const identity = await freshDevice();
  for (const send of [publishedByService, sentByOperator]) {
    const polls = await onEachWorker(gateway, workers, async () => {
      const client = await RawHttps.open({ port, identity });
      client.send(requestText('GET', '/api/v1/time'));
      assert.equal((await client.answer()).status, 200);
      client.send(requestText('GET', `${path}?wait=60`));
      return { client };
    });
    await send(identity, 'wake');
    // All have it before one of them says so: a worker that comes to look later finds nothing.
    const answers = await Promise.all(
      [...polls.values()].map(async ({ client }) => ({
        client,
        commands: given(await client.answer()),
      })),
    );
    for (const { client, commands } of answers) {
      const [command, ...more] = commands;
      assert.ok(command !== undefined && more.length === 0);
      assert.equal(command.topic, `devices/${identity.id}/commands/wake`);
      client.send(requestText('DELETE', `${path}/${command.id}`));
      // Whoever is first to say so.
      assert.ok([204, 404].includes((await client.answer()).status));
      client[Symbol.dispose]();
    }
    using device = HttpsDevice.of(gateway, identity);
    const began = performance.now();
    assert.equal((await device.request('GET', `${path}?wait=1`)).status, 204);
    const tookMs = performance.now() - began;
    assert.ok(tookMs > 990, `after ${tookMs} ms`);
  }
});

test('one poll after the other misses nothing that is sent meanwhile', async () => {
  const identity = await freshDevice();
  using device = HttpsDevice.of(gateway, identity);
  using service = await connect(be, { clientId: 'sender' });
  const total = 60;
  const sending = (async () => {
    for (let n = 0; n < total; n += 1) {
      assert.equal(await service.publish(`devices/${identity.id}/commands/n`, `${n}`), 0);
    }
  })();
  const received: unknown[] = [];
  while (received.length < total) {
    const commands = await waiting(device, '?wait=10');
    assert.ok(commands.length > 0, `only ${received.length} of ${total} came`);
    for (const { id, payload } of commands) {
      received.push(payload);
      assert.equal((await device.request('DELETE', `${path}/${id}`)).status, 204);
    }
  }
  await sending;
  assert.deepEqual(
    received,
    Array.from({ length: total }, (_, n) => n),
  );
});

test('an event stream gives what waits and what comes; Last-Event-ID acknowledges up to it', async () => {
  const identity = await freshDevice();
  await publishedByService(identity, 'one');
  using first = HttpsDevice.of(gateway, identity);
  const stream = await first.eventStream();
  assert.equal(stream.headers.get('content-type'), 'text/event-stream');
  const one = await stream.next();
  await sentByOperator(identity, 'two');
  const two = await stream.next();
  await publishedByService(identity, 'three', '[3]');
  const three = await stream.next();
  const events = [one, two, three];
  const commands = events.map(({ data }) => JSON.parse(data) as Given); // as documented
  assert.deepEqual(names(commands), ['one', 'two', 'three']);
  for (const [n, { id, event }] of events.entries()) {
    assert.deepEqual([id, event], [commands[n]?.id, 'command']);
  }
  stream[Symbol.dispose]();

  // Broken off after the second: the third comes again, on whichever worker the device lands.
  using second = HttpsDevice.of(gateway, identity);
  const resumed = await second.eventStream(two.id);
  assert.deepEqual(await resumed.next(), three);
  assert.deepEqual(names(await waiting(second)), ['three']);
  await publishedByService(identity, 'four');
  const four = await resumed.next();
  resumed[Symbol.dispose]();
  using third = HttpsDevice.of(gateway, identity);
  using last = await third.eventStream(four.id);
  await until('the mailbox is empty', 30_000, async () => (await waiting(third)).length === 0);
  assert.deepEqual(last.events, []);
});

test('streams of one device on both workers get each command once each', async () => {
  const identity = await freshDevice();
  const streams = await onEachWorker(gateway, workers, async () => {
    const device = HttpsDevice.of(gateway, identity);
    const stream = await device.eventStream();
    const [socket] = device.sockets;
    const address = `${socket?.localAddress ?? ''}:${socket?.localPort ?? 0}`;
    return { client: { address, stream, [Symbol.dispose]: () => device[Symbol.dispose]() } };
  });
  await publishedByService(identity, 'a');
  await sentByOperator(identity, 'b');
  for (const { client } of streams.values()) {
    const commands = [await client.stream.next(), await client.stream.next()];
    assert.deepEqual(names(commands.map(({ data }) => JSON.parse(data) as Given)), ['a', 'b']);
    assert.equal(client.stream.events.length, 2);
    client[Symbol.dispose]();
  }
});

test('what a device has taken over MQTT is gone over HTTPS, and the other way round', async () => {
  const identity = await freshDevice();
  using device = HttpsDevice.of(gateway, identity);
  await publishedByService(identity, 'for-mqtt');
  {
    const filter = `devices/${identity.id}/commands/#`;
    await using agent = await MosquittoSub.start({ port: mqttsPort, identity }, filter);
    await agent.message(({ topic }) => topic.endsWith('/for-mqtt'));
    await until('it is gone', 30_000, async () => (await waiting(device)).length === 0);
    // While it is connected: what it gets at once is not given to a poll for long.
    await sentByOperator(identity, 'live');
    await agent.message(({ topic }) => topic.endsWith('/live'));
    await until('it is gone', 30_000, async () => (await waiting(device)).length === 0);
  }
  const id = await sentByOperator(identity, 'for-https');
  assert.equal((await device.request('DELETE', `${path}/${id}`)).status, 204);
  await publishedByService(identity, 'last');
  using late = await connect(identity, { clientId: 'late' });
  await late.subscribe(`devices/${identity.id}/commands/#`);
  await late.message(({ topic }) => topic.endsWith('/last'));
  assert.equal(late.messages.length, 1);
});

test('what MQTT has been given and not acknowledged, HTTPS is given too', async () => {
  const identity = await freshDevice();
  using agent = await connect(identity, { clientId: 'agent', acknowledges: false });
  await agent.subscribe(`devices/${identity.id}/commands/#`);
  await publishedByService(identity, 'go');
  const message = await agent.message(() => true);
  using device = HttpsDevice.of(gateway, identity);
  assert.deepEqual(names(await waiting(device)), ['go']);
  agent.acknowledge(message);
  await until('it is gone', 30_000, async () => (await waiting(device)).length === 0);
});

test('the answer to a command goes back to the service', async () => {
  const identity = await freshDevice();
  await using desk = await MosquittoSub.start(
    { port: mqttsPort, identity: be },
    'devices/+/command_responses',
  );
  using device = HttpsDevice.of(gateway, identity);
  const id = await sentByOperator(identity, 'reboot');
  assert.equal((await device.post('command-responses', { id, status: 'done' })).status, 202);
  const { topic, payload } = await desk.message(() => true);
  assert.equal(topic, `devices/${identity.id}/command_responses`);
  assert.deepEqual(JSON.parse(payload), { id, status: 'done' });
});

for (const { what, strike } of [
  {
    what: 'every worker is killed',
    strike: async (struck: Gateway): Promise<Gateway> => {
      const before = struck.run().workers;
      for (const pid of before) process.kill(pid, 'SIGKILL');
      await struck.runFile(
        (run) =>
          run.workers.length === before.length && !run.workers.some((pid) => before.includes(pid)),
      );
      return struck;
    },
  },
  {
    what: 'every process is killed',
    strike: async (struck: Gateway, start: () => Promise<Gateway>): Promise<Gateway> => {
      await struck.kill();
      return start();
    },
  },
]) {
  test(`a command survives that ${what} before it is fetched, over both protocols`, async () => {
    const folder = temporaryFolder();
    after(() => folder[Symbol.dispose]());
    const start = (): Promise<Gateway> => startGateway({ workers: 2, folder });
    const first = await start();
    let second = first;
    try {
      const [https, mqtt] = await first.devices('https', 'mqtt');
      assert.ok(https !== undefined && mqtt !== undefined);
      const service = await first.service('be', 'backend');
      for (const { id } of [https, mqtt]) {
        await first.ok('command', 'send', id, 'by-operator');
        const target = { port: first.mqttsPort, identity: service };
        const sent = await mosquittoPub(target, `devices/${id}/commands/by-service`, '{}');
        assert.equal(sent.code, 0, sent.output);
      }
      second = await strike(first, start);
      using device = HttpsDevice.of(second, https);
      const commands = given(await device.request('GET', `${path}?wait=10`));
      assert.deepEqual(names(commands), ['by-operator', 'by-service']);
      using agent = await RawMqtt.open({ port: second.mqttsPort, identity: mqtt });
      assert.equal((await agent.connect({ clientId: 'agent' })).code, 0);
      await agent.subscribe('devices/mqtt/commands/#');
      await agent.message(({ topic }) => topic.endsWith('/by-service'));
      assert.deepEqual(
        agent.messages.map(({ topic }) => topic.split('/').at(-1)),
        ['by-operator', 'by-service'],
      );
      for (const { id } of commands) {
        assert.equal((await device.request('DELETE', `${path}/${id}`)).status, 204);
      }
      assert.equal((await device.request('GET', path)).status, 204);
    } finally {
      await first[Symbol.asyncDispose]();
      await second[Symbol.asyncDispose]();
    }
  });
}
