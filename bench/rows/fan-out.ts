/** MQTT over mutual TLS against mosquitto: messages of one device to a thousand subscribers. */
import { within } from '../../test/harness/waiting.ts';
import { Mosquitto } from '../harness/mosquitto.ts';
import { cpuWhile } from '../harness/process-tree.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { Sallyport } from '../harness/sallyport.ts';
import type { Fleet } from '../harness/sallyport.ts';
import { MqttSession, publishBytes } from '../load/mqtt-session.ts';
import { together } from '../load/pace.ts';
import { telemetryPayload } from '../load/telemetry.ts';
import { openSession, targetOf } from './fan-in.ts';
import type { Broker } from './fan-in.ts';

const subscribers = 1_000;
const connectsAtOnce = 16;
const roundMs = 60_000;

class FanOut {
  readonly #broker: Broker;
  readonly #publisher: MqttSession;
  readonly #message: Buffer;
  #left = 0;
  #done: () => void = () => {};

  static async open(broker: Broker, fleet: Fleet): Promise<FanOut> {
    const [device] = fleet.devices;
    if (device === undefined) throw new Error('no device');
    const publisher = await openSession(broker, device, 0);
    const topic = `devices/${device.id}/telemetry`;
    const fanOut = new FanOut(broker, publisher, publishBytes(topic, telemetryPayload));
    // One context for all: a client's costs 45 kB.
    const target = targetOf(broker, fleet.service, 1);
    await together(subscribers, connectsAtOnce, async (i) => {
      const session = await MqttSession.open(target, `${fleet.service.id}-${i}`);
      await session.subscribe(topic);
      session.onMessage = () => fanOut.#arrived();
    });
    return fanOut;
  }

  private constructor(broker: Broker, publisher: MqttSession, message: Buffer) {
    this.#broker = broker;
    this.#publisher = publisher;
    this.#message = message;
  }

  /** So many messages in one record, and the next record when all have all of them. @returns µs of CPU a delivery. */
  async bursts(count: number, messages: number): Promise<number> {
    const record = Buffer.concat(Array<Buffer>(messages).fill(this.#message));
    const deliveries = messages * subscribers;
    const nanoseconds = await cpuWhile(this.#broker.pid, async () => {
      for (let i = 0; i < count; i += 1) {
        const all = new Promise<void>((resolve) => {
          this.#done = resolve;
        });
        this.#left = deliveries;
        this.#publisher.send(record);
        await within(all, roundMs, `${deliveries} deliveries by way of ${this.#broker.name}`);
      }
    });
    return nanoseconds / (count * deliveries) / 1_000;
  }

  #arrived(): void {
    this.#left -= 1;
    if (this.#left === 0) this.#done();
  }
}

const single = { bursts: 100, messages: 1 };
const burst = { bursts: 10, messages: 50 };

export const mqttFanOut: Row = {
  name: 'mqtt-fan-out',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using sallyport = await Sallyport.start({
      devices: 1,
      limits: [`sessionsPerIdentity: ${subscribers + 1}`],
    });
    await using mosquitto = await Mosquitto.start(sallyport.fleet.rootFile);
    const ours = await FanOut.open(sallyport, sallyport.fleet);
    const theirs = await FanOut.open(mosquitto, sallyport.fleet);
    const results: Result[] = [];
    for (const { bursts, messages } of [single, burst]) {
      const [figures = [], peerFigures = []] = await alternate(rounds, [
        { round: () => ours.bursts(bursts, messages) },
        { round: () => theirs.bursts(bursts, messages) },
      ]);
      const what = messages === 1 ? 'single messages' : `bursts of ${messages}`;
      results.push({
        row: this.name,
        subject: `MQTT 5 mTLS fan-out 1 → ${subscribers}, QoS 0: ${what}`,
        unit: 'µs CPU per delivery',
        figures,
        peer: { name: mosquitto.name, figures: peerFigures },
        pass: messages === 1 ? 1.2 : 0.3,
        notes: [
          `${bursts * messages} messages a round of ${telemetryPayload.length} bytes, the next ${messages === 1 ? 'one' : 'burst'} when all have the one before`,
        ],
      });
    }
    return results;
  },
};
