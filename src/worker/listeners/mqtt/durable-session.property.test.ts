/** Whatever a client, its network and its workers do: QoS 1 arrives, QoS 2 arrives once, and each in order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import type { Connect, Packet } from '../../../common/codec/mqtt/packets.ts';
import { publishOf, responseOf, subscribeTo, World } from '../../session-world.ts';
import type { Client, Worker } from '../../session-world.ts';

const topic = 'devices/d1/telemetry';

/** The client's part of a session, which it keeps whatever becomes of its connections. */
class Receiver {
  readonly got: string[] = [];
  readonly #held = new Set<number>();
  #client: Client | undefined;
  #answers: Packet[] = [];

  async connect(worker: Worker, receiveMaximum: number): Promise<void> {
    const options: Partial<Connect> = {
      properties: { sessionExpiryInterval: 60, receiveMaximum },
    };
    // What it has not said yet it will never say: the server begins again.
    this.#answers = [];
    this.#client = await worker.connect('be', options);
    await this.hear();
  }

  vanish(): void {
    this.#client?.vanish();
    this.#client = undefined;
  }

  forget(): void {
    this.#client = undefined;
  }

  send(packet: Packet): void {
    this.#client?.send(packet);
  }

  async hear(): Promise<void> {
    for (const packet of (await this.#client?.packets()) ?? []) this.#received(packet);
  }

  /** Says the oldest of what it has to say. @returns how many it had. */
  async answer(most: number): Promise<number> {
    const said = this.#answers.splice(0, most);
    if (said.length > 0) this.#client?.send(...said);
    await this.hear();
    return said.length;
  }

  #received(packet: Packet): void {
    if (packet.type === 'publish') {
      const { packetId, qos } = packet;
      if (qos === 1 || !this.#held.has(packetId)) this.got.push(packet.payload.toString());
      if (qos === 2) this.#held.add(packetId);
      this.#answers.push(responseOf(qos === 1 ? 'puback' : 'pubrec', packetId));
    } else if (packet.type === 'pubrel') {
      this.#held.delete(packet.packetId);
      this.#answers.push(responseOf('pubcomp', packet.packetId));
    }
  }
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('publish' as const), n: fc.constantFrom(1, 2) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('answer' as const), n: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('vanish' as const), n: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('killed' as const), n: fc.constant(0) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('connect' as const),
      n: fc.integer({ min: 0, max: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('ping' as const), n: fc.constant(0) }) },
);

test('messages through connections that come, go, move and are taken over by force', async (t) => {
  const worlds: World[] = [];
  t.after(async () => {
    for (const { workers } of worlds) {
      for (const { listener } of workers) await listener.drain(0, 1_000);
    }
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const world = new World();
      worlds.push(world);
      const workers = [world.worker(), world.worker()] as const;
      const device = await workers[0].connect('d1', { cleanStart: true });
      await device.packets();
      const receiver = new Receiver();
      await receiver.connect(workers[0], 4);
      receiver.send(subscribeTo(topic, 2));
      await receiver.hear();
      const published: string[] = [];
      for (const { do: what, n } of steps) {
        if (what === 'publish') {
          const qos = n === 1 ? 1 : 2;
          const payload = `${qos}-${published.length}`;
          published.push(payload);
          device.send(publishOf(topic, payload, qos, 1));
          await device.packets();
          if (qos === 2) device.send(responseOf('pubrel', 1));
          await device.packets();
          await receiver.hear();
        } else if (what === 'answer') {
          await receiver.answer(n);
        } else if (what === 'vanish') {
          receiver.vanish();
        } else if (what === 'killed') {
          // Nobody leaves the session: the claim of the next connection finds no owner, and fences the one there was.
          world.owners.clear();
          receiver.forget();
        } else if (what === 'connect') {
          await receiver.connect(workers[n % 2 === 0 ? 0 : 1], 1 + (n % 3));
        } else {
          receiver.send({ type: 'pingreq' });
          await receiver.hear();
        }
      }
      await receiver.connect(workers[1], 4);
      while ((await receiver.answer(10)) > 0);
      const { got } = receiver;
      const first = [...new Set(got)];
      const ofQoS2 = got.filter((payload) => payload.startsWith('2-'));
      assert.equal(new Set(ofQoS2).size, ofQoS2.length, `twice: ${got.join(' ')}`);
      assert.deepEqual(first.toSorted(), published.toSorted());
      // MQTT-4.6.0-5: in the order of the publisher, those of one QoS; each when it comes for the first time.
      for (const qos of ['1-', '2-']) {
        const of = (all: readonly string[]) => all.filter((payload) => payload.startsWith(qos));
        assert.deepEqual(of(first), of(published));
      }
      assert.deepEqual(world.logged, []);
      assert.equal(
        world.shared.values().every(({ queue }) => queue.size === 0),
        true,
      );
    }),
    { numRuns: 60 },
  );
});
