/** Many devices at once: spread over the protocols, started one after the other, counted together. */
import type { SecureContext } from 'node:tls';
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import type { BackoffLimits } from './backoff.ts';
import { Device } from './device.ts';
import { HttpsLink } from './https-link.ts';
import type { Address, DeviceIdentity, DeviceLink, LinkEvents, Protocol } from './link.ts';
import { MqttLink } from './mqtt-link.ts';
import { seededRandom, seedOf } from './random.ts';
import type { RandomSource } from './random.ts';
import { countIn, Tally } from './tally.ts';
import { Sensor } from './telemetry.ts';
import { clientContext } from './tls-client.ts';

/**
 * Devices that begin per second: the gateway counts new connections per source, and all of these come from one. It is
 * also what a small machine can do beside the gateway that answers them.
 */
const startsPerSecond = 100;
const backoff: BackoffLimits = { minMs: 1_000, maxMs: 60_000 };

/** Connections of one device, each of which is a file descriptor. */
export const connectionsPerDevice: Readonly<Record<Protocol, number>> = { mqtts: 1, https: 2 };

export interface FleetMember extends DeviceIdentity {
  readonly protocol: Protocol;
}

export interface FleetOptions {
  readonly members: readonly FleetMember[];
  readonly addresses: Readonly<Partial<Record<Protocol, Address>>>;
  /** From one reading of a device to its next, on average. */
  readonly intervalMs: number;
  /** Readings of the whole fleet, after which it is done; endless without it. */
  readonly messages: number | undefined;
  readonly clock: Clock;
  /** For jitter. What the sensors measure depends on their ids alone. */
  readonly random: RandomSource;
}

export interface FleetState {
  readonly devices: number;
  readonly connected: number;
  readonly everConnected: number;
  /** Devices that were turned away for good, by the reason. */
  readonly refusedDevices: ReadonlyMap<ErrorCode, number>;
}

/** The protocol of each of `count` devices: as many of one as of another, to one. */
export function spread(count: number, over: readonly Protocol[]): Protocol[] {
  return Array.from({ length: count }, (_, index) => {
    const protocol = over[index % over.length];
    if (protocol === undefined) throw new SallyportError('internal', 'a fleet without a protocol');
    return protocol;
  });
}

export class Fleet {
  readonly tally = new Tally();
  readonly #options: FleetOptions;
  readonly #devices: readonly Device[];
  readonly #done = Promise.withResolvers<void>();

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#devices = options.members.map((member) => this.#device(member));
  }

  /** Resolves when all messages were made and answered, or no device is left that could send one. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  start(): void {
    const { random } = this.#options;
    const slotMs = 1_000 / startsPerSecond;
    this.#devices.forEach((device, index) => device.start(slotMs * (index + random())));
    if (this.#devices.length === 0) this.#done.resolve();
  }

  /** Devices say goodbye; resolves when the last one has. */
  async stop(): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.stop()));
  }

  state(): FleetState {
    const refusedDevices = new Map<ErrorCode, number>();
    let connected = 0;
    let everConnected = 0;
    for (const device of this.#devices) {
      if (device.phase === 'connected') connected += 1;
      if (device.everConnected) everConnected += 1;
      if (device.phase === 'refused') countIn(refusedDevices, device.lastEnd?.code ?? 'internal');
    }
    return { devices: this.#devices.length, connected, everConnected, refusedDevices };
  }

  /** Why a connection ended or could not be made, of the last device in the list that knows. */
  lastProblem(): SallyportError | undefined {
    return this.#devices.findLast(({ lastEnd }) => lastEnd !== undefined)?.lastEnd;
  }

  #device(member: FleetMember): Device {
    const { intervalMs, clock, random, messages } = this.#options;
    const sensor = new Sensor(seededRandom(seedOf(member.id)));
    return new Device({
      id: member.id,
      link: this.#links(member),
      measure: () => Buffer.from(JSON.stringify(sensor.next())),
      intervalMs,
      backoff,
      clock,
      random,
      tally: this.tally,
      mayMeasure: () => messages === undefined || this.tally.sent < messages,
      changed: () => this.#look(),
    });
  }

  #links(member: FleetMember): (events: LinkEvents) => DeviceLink {
    const { id, protocol } = member;
    const { clock, addresses } = this.#options;
    const address = addresses[protocol];
    if (address === undefined) throw new SallyportError('internal', `no address for ${protocol}`);
    const resumption: { session: Buffer | undefined } = { session: undefined };
    let context: SecureContext | undefined;
    return (events) => {
      // When its turn comes: the keys and chains of a whole fleet take seconds to parse.
      context ??= clientContext(member);
      return protocol === 'mqtts'
        ? new MqttLink({ id, address, context, clock, resumption, events })
        : new HttpsLink({ id, address, context, clock, events });
    };
  }

  #look(): void {
    const { messages } = this.#options;
    const { sent, unanswered } = this.tally;
    const allSent = messages !== undefined && sent >= messages && unanswered === 0;
    if (allSent || this.#devices.every(({ phase }) => phase === 'refused')) this.#done.resolve();
  }
}
