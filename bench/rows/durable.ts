/** MQTT over mutual TLS against mosquitto: QoS 1 into the queue of a session whose client is away. */
import { within } from '../../test/harness/waiting.ts';
import { Mosquitto } from '../harness/mosquitto.ts';
import { cpuWhile } from '../harness/process-tree.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { Sallyport } from '../harness/sallyport.ts';
import type { Fleet } from '../harness/sallyport.ts';
import { MqttSession, publishBytes } from '../load/mqtt-session.ts';
import { telemetryPayload } from '../load/telemetry.ts';
import { openSession, targetOf } from './fan-in.ts';
import type { Broker } from './fan-in.ts';

const devices = 50;
const messages = 20_000;
/** Of each device, without an answer. Within what both servers announce that they take. */
const inFlight = 20;
const roundMs = 60_000;
const expirySeconds = 3_600;

class Publisher {
  readonly #session: MqttSession;
  readonly #packets: readonly Buffer[];
  #sent = 0;
  #acknowledged = 0;
  #wanted = 0;
  #done: () => void = () => {};

  constructor(session: MqttSession, topic: string) {
    this.#session = session;
    this.#packets = Array.from({ length: inFlight }, (_, i) =>
      publishBytes(topic, telemetryPayload, i + 1),
    );
    session.onAcknowledged = () => {
      this.#acknowledged += 1;
      if (this.#sent < this.#wanted) this.#send();
      else if (this.#acknowledged === this.#wanted) this.#done();
    };
  }

  /** Resolves when all of them are acknowledged. */
  publish(count: number): Promise<void> {
    this.#wanted = this.#sent + count;
    return new Promise((resolve) => {
      this.#done = resolve;
      for (let i = 0; i < Math.min(inFlight, count); i += 1) this.#send();
    });
  }

  /** Answers come in the order of the messages, so the packet identifier is free again. */
  #send(): void {
    this.#session.send(this.#packets[this.#sent % inFlight] ?? Buffer.alloc(0));
    this.#sent += 1;
  }
}

class Offline {
  readonly #broker: Broker;
  readonly #fleet: Fleet;
  readonly #publishers: readonly Publisher[];

  static async open(broker: Broker, fleet: Fleet): Promise<Offline> {
    const publishers: Publisher[] = [];
    for (const [i, device] of fleet.devices.entries()) {
      const session = await openSession(broker, device, i);
      publishers.push(new Publisher(session, `devices/${device.id}/telemetry`));
    }
    return new Offline(broker, fleet, publishers);
  }

  private constructor(broker: Broker, fleet: Fleet, publishers: readonly Publisher[]) {
    this.#broker = broker;
    this.#fleet = fleet;
    this.#publishers = publishers;
  }

  /** A session that starts empty each time. @returns µs of CPU a message. */
  async round(): Promise<number> {
    const subscriber = await MqttSession.open(
      targetOf(this.#broker, this.#fleet.service, devices),
      this.#fleet.service.id,
      { expirySeconds },
    );
    await subscriber.subscribe('devices/+/telemetry', 1);
    await subscriber.close();
    const nanoseconds = await cpuWhile(this.#broker.pid, async () => {
      const all = Promise.all(this.#publishers.map((each) => each.publish(messages / devices)));
      await within(all, roundMs, `${messages} acknowledgements of ${this.#broker.name}`);
    });
    return nanoseconds / messages / 1_000;
  }
}

export const mqttDurable: Row = {
  name: 'mqtt-durable',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using sallyport = await Sallyport.start({
      devices,
      limits: ['queuedMessages: 1000000', 'queuedBytes: 1GiB'],
    });
    await using mosquitto = await Mosquitto.start(sallyport.fleet.rootFile);
    const ours = await Offline.open(sallyport, sallyport.fleet);
    const theirs = await Offline.open(mosquitto, sallyport.fleet);
    const [figures = [], peerFigures = []] = await alternate(rounds, [
      { round: () => ours.round() },
      { round: () => theirs.round() },
    ]);
    const result: Result = {
      row: this.name,
      subject: 'MQTT 5 mTLS QoS 1 to a session whose client is away',
      unit: 'µs CPU per message',
      figures,
      peer: { name: mosquitto.name, figures: peerFigures },
      pass: 1.2,
      goal: 1,
      notes: [
        `${messages} messages a round from ${devices} devices, ${inFlight} of each on their way, ${telemetryPayload.length} bytes of JSON; acknowledged when flushed to disk and sealed, by mosquitto when in memory`,
      ],
    };
    return [result];
  },
};
