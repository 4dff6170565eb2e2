/** Many devices, one subscriber: the load of the MQTT rows, the same for whichever broker is behind the port. */
import type { ProtocolVersion } from '../../src/common/codec/mqtt/packets.ts';
import { within } from '../../test/harness/waiting.ts';
import { sourceAddress } from '../harness/network.ts';
import { cpuWhile } from '../harness/process-tree.ts';
import type { Fleet } from '../harness/sallyport.ts';
import type { Credentials } from '../load/credentials.ts';
import { MqttSession, publishBytes } from '../load/mqtt-session.ts';
import { paced, together } from '../load/pace.ts';
import { telemetryPayload } from '../load/telemetry.ts';
import { tlsContext } from '../load/tls-client.ts';
import type { TlsTarget } from '../load/tls-client.ts';

/** A server of MQTT over TLS. */
export interface Broker {
  readonly name: string;
  /** Of its first process. */
  readonly pid: number;
  readonly mqttsPort: number;
  /** Of MQTT, when it is not 5. */
  readonly version?: ProtocolVersion;
  /** PEM of the root of its certificate when it is not the devices' own. */
  readonly ca?: string;
}

const connectsAtOnce = 16;
const roundMs = 120_000;

export class FanIn {
  readonly #broker: Broker;
  readonly #devices: readonly MqttSession[];
  readonly #messages: readonly Buffer[];
  #received = 0;
  #wanted = 0;
  #done: () => void = () => {};

  static async open(broker: Broker, fleet: Fleet, devices: number): Promise<FanIn> {
    const subscriber = await openSession(broker, fleet.service, devices);
    await subscriber.subscribe('devices/+/telemetry');
    const sessions: MqttSession[] = [];
    await together(devices, connectsAtOnce, async (i) => {
      const device = fleet.devices[i];
      if (device === undefined) throw new Error(`no device ${i}`);
      sessions[i] = await openSession(broker, device, i);
    });
    const messages = fleet.devices
      .slice(0, devices)
      .map(({ id }) =>
        publishBytes(`devices/${id}/telemetry`, telemetryPayload, 0, broker.version),
      );
    return new FanIn(broker, subscriber, sessions, messages);
  }

  private constructor(
    broker: Broker,
    subscriber: MqttSession,
    devices: readonly MqttSession[],
    messages: readonly Buffer[],
  ) {
    this.#broker = broker;
    this.#devices = devices;
    this.#messages = messages;
    subscriber.onMessage = () => {
      this.#received += 1;
      if (this.#received === this.#wanted) this.#done();
    };
  }

  /** One message per TLS record, from the devices in turn, evenly spaced. @returns µs of CPU per message. */
  atRate(count: number, perSecond: number): Promise<number> {
    return this.#measure(count, () =>
      paced(count, perSecond, (i) => {
        const device = i % this.#devices.length;
        this.#devices[device]?.send(this.#messages[device] ?? Buffer.alloc(0));
      }),
    );
  }

  /**
   * `perRecord` messages in each TLS record, from the devices in turn, as fast as the broker takes them with
   * `outstanding` on their way. @returns µs of CPU per message.
   */
  saturated(count: number, perRecord: number, outstanding: number): Promise<number> {
    const records = this.#messages.map((bytes) =>
      Buffer.concat(Array<Buffer>(perRecord).fill(bytes)),
    );
    const start = this.#received;
    let sent = 0;
    let turn = 0;
    const send = (done: () => void): void => {
      // No more than a burst in a turn, or what comes back would wait.
      for (let burst = 0; burst < this.#devices.length; burst += 1) {
        if (sent >= count || sent - (this.#received - start) >= outstanding) break;
        const device = turn % this.#devices.length;
        turn += 1;
        this.#devices[device]?.send(records[device] ?? Buffer.alloc(0));
        sent += perRecord;
      }
      if (sent < count) setImmediate(send, done);
      else done();
    };
    return this.#measure(count, () => new Promise((resolve) => send(resolve)));
  }

  /** Until the subscriber has all of them: one that is lost fails the round. */
  async #measure(count: number, send: () => Promise<void>): Promise<number> {
    const nanoseconds = await cpuWhile(this.#broker.pid, async () => {
      this.#wanted = this.#received + count;
      const missing = this.#wanted;
      const all = new Promise<void>((resolve) => {
        this.#done = resolve;
      });
      await send();
      await within(all, roundMs, `${missing} messages by way of ${this.#broker.name}`);
    });
    return nanoseconds / count / 1_000;
  }
}

export function openSession(
  broker: Broker,
  credentials: Credentials,
  index: number,
): Promise<MqttSession> {
  const { version = 5 } = broker;
  return MqttSession.open(targetOf(broker, credentials, index), credentials.id, { version });
}

/** Where a client connects to, with a context of its own. */
export function targetOf(
  { mqttsPort, ca }: Broker,
  credentials: Credentials,
  index: number,
): TlsTarget {
  const context = tlsContext({ ...credentials, ca: ca ?? credentials.ca });
  return { port: mqttsPort, localAddress: sourceAddress(index), context };
}
