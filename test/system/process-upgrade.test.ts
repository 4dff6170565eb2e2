/** Ending and replacing processes on purpose: SIGTERM, SIGUSR2, `reload --processes`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { allGone } from '../harness/processes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { runningMs, until } from '../harness/waiting.ts';

/** The device below publishes as fast as it is answered. */
const drainConfig =
  'limits: { drain: 2s, identityRates: { device: { limit: 100000/s, burst: 100000 } } }';

async function connected(
  gateway: Gateway,
  identity: Identity,
  version: 4 | 5 = 5,
): Promise<RawMqtt> {
  const client = await RawMqtt.open({ port: gateway.mqttsPort, identity, version });
  assert.equal((await client.connect({ clientId: `${identity.id}-v${version}` })).code, 0);
  return client;
}

test('SIGTERM tells every session 0x8B, ends within the drain time and leaves nothing running', async () => {
  await using gateway = await startGateway({ workers: 2, config: drainConfig });
  const d1 = await gateway.device('d1');
  const be = await gateway.service('be', 'backend');
  const clients = [
    await connected(gateway, d1),
    await connected(gateway, d1, 4),
    await connected(gateway, be),
  ];
  // A connection that has not said CONNECT yet must not hold the end up.
  using silent = await RawMqtt.open({ port: gateway.mqttsPort, identity: d1 });
  const started = runningMs();
  await gateway.stop();
  assert.ok(runningMs() - started < 8_000);
  for (const client of clients) {
    assert.equal((await client.ended).disconnect, client.version === 5 ? 0x8b : undefined);
  }
  await silent.ended;
});

test('a second SIGTERM changes nothing', async () => {
  await using gateway = await startGateway({ config: drainConfig });
  gateway.signal('SIGTERM');
  await gateway.stop();
});

for (const how of ['SIGUSR2', 'reload --processes'] as const) {
  test(`${how} replaces every process; devices reconnect, and what was acknowledged is kept`, async () => {
    await using gateway = await startGateway({ workers: 2, config: drainConfig });
    const d1 = await gateway.device('d1');
    const be = await gateway.service('be', 'backend');
    const before = gateway.processes();
    const { listeners, pid } = gateway.run();
    using witness = await connected(gateway, be);
    const device = new Reconnecting(gateway, d1);
    await device.hasAcknowledged(1);

    const since = gateway.log.end;
    if (how === 'SIGUSR2') gateway.signal('SIGUSR2');
    else await gateway.ok('reload', '--processes');
    const run = await gateway.runFile(
      ({ workers }) =>
        workers.length === 2 && !workers.some((worker) => before.workers.includes(worker)),
      40_000,
    );
    assert.equal(run.pid, pid);
    assert.deepEqual(run.listeners, listeners);
    await allGone([...before.control, ...before.workers], 20_000);
    assert.equal((await witness.ended).disconnect, 0x8b);
    await device.hasAcknowledged(device.acknowledged + 1);
    const acknowledged = await device.stop();
    assert.ok(device.connections > 1, 'the device was never disconnected');

    using backend = await connected(gateway, be);
    assert.deepEqual(await backend.subscribe('devices/d1/status'), [1]);
    const { payload } = await backend.message(({ topic }) => topic === 'devices/d1/status');
    assert.ok(Number(payload) >= acknowledged, `${payload} is older than ${acknowledged}`);
    await until('control is back', 30_000, async () => (await gateway.cli('status')).code === 0);
    assert.equal(gateway.processes().workers.length, 2);
    // Nothing went wrong, so nothing is logged as if it had.
    const errors = gateway.log.lines((line) => line.get('level') === 'error', since);
    assert.deepEqual(errors, []);
    await gateway.stop();
  });
}

/** A device that publishes a growing number, retained, and connects again whenever it is disconnected. */
class Reconnecting {
  readonly #gateway: Gateway;
  readonly #identity: Identity;
  readonly #done: Promise<void>;
  #stopped = false;
  acknowledged = 0;
  connections = 0;

  constructor(gateway: Gateway, identity: Identity) {
    this.#gateway = gateway;
    this.#identity = identity;
    this.#done = this.#run();
    // Whoever calls `stop` hears of it.
    this.#done.catch(() => {});
  }

  /** @throws what ended it, if it has ended. */
  async hasAcknowledged(count: number): Promise<void> {
    const reached = until(`acknowledgement ${count}`, 60_000, () => this.acknowledged >= count);
    await Promise.race([reached, this.#done]);
    assert.ok(this.acknowledged >= count);
  }

  async stop(): Promise<number> {
    this.#stopped = true;
    await this.#done;
    return this.acknowledged;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      using client = await until('a connection', 60_000, () => this.#connect());
      this.connections += 1;
      await this.#publish(client);
    }
  }

  async #connect(): Promise<RawMqtt | undefined> {
    try {
      return await connected(this.#gateway, this.#identity);
    } catch {
      return undefined;
    }
  }

  async #publish(client: RawMqtt): Promise<void> {
    while (!this.#stopped && !client.isEnded) {
      const next = this.acknowledged + 1;
      let code: number;
      try {
        code = await client.publish('devices/d1/status', String(next), { retain: true });
      } catch {
        return;
      }
      assert.ok(code === 0 || code === 0x10, `refused with 0x${code.toString(16)}`);
      this.acknowledged = next;
    }
  }
}
