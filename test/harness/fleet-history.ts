/**
 * What a fleet of lasting clients did and saw, and what must be true of it: a message that was promised has come, one of
 * QoS 2 once and never twice, nobody got what is another's, and nobody who is suspended was served.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Gateway, Identity } from './gateway.ts';
import { LastingClient } from './lasting-client.ts';
import { until } from './waiting.ts';

export interface FleetOptions {
  readonly devices: readonly Identity[];
  /** Of the role `backend`: reads what the devices send, and commands them. */
  readonly service: Identity;
  readonly gateway: () => Gateway;
  /** Of each device, between two messages. */
  readonly everyMs: number;
}

export interface Violation {
  readonly what:
    | 'lost'
    | 'twice'
    | 'crossed'
    | 'served while suspended'
    | 'session lost'
    | 'trespass';
  readonly detail: string;
}

/** Messages of a device that wait for their answer. */
const mostOpen = 16;
/** After `device suspend` has returned nothing may be accepted any more; what is on its way to us may still come. */
const graceMs = 1_000;
const arrivalLimitMs = 60_000;

interface Sent {
  readonly device: string;
  readonly qos: 1 | 2;
}

export class FleetHistory implements AsyncDisposable {
  readonly #options: FleetOptions;
  readonly #service: LastingClient;
  readonly #devices: readonly LastingClient[];
  readonly #promised = new Map<string, Sent>();
  readonly #arrived = new Map<string, number>();
  readonly #violations: Violation[] = [];
  /** Device → when its suspension held, `performance.now()`. */
  readonly #suspended = new Map<string, number>();
  #refused = 0;
  #stopping = false;
  #load: Promise<unknown> = Promise.resolve();

  constructor(options: FleetOptions) {
    this.#options = options;
    const { gateway, service, devices } = options;
    this.#service = new LastingClient({
      identity: service,
      gateway,
      filters: ['devices/+/telemetry', 'devices/+/diagnostics'],
      onMessage: ({ topic, payload }) => this.#received(topic, payload),
    });
    this.#devices = devices.map(
      (identity) =>
        new LastingClient({
          identity,
          gateway,
          filters: [`devices/${identity.id}/commands/#`],
          onMessage: ({ topic, payload }) => this.#commanded(identity.id, topic, payload),
        }),
    );
  }

  /** As soon as every client has its session, they publish. */
  async begins(): Promise<void> {
    await until('every client to have subscribed', arrivalLimitMs, () =>
      [this.#service, ...this.#devices].every(({ subscribed }) => subscribed),
    );
    this.#load = Promise.all([
      ...this.#devices.map((device, i) => this.#publishes(device, i)),
      this.#commands(),
    ]);
  }

  get promised(): number {
    return this.#promised.size;
  }

  get arrived(): number {
    return this.#arrived.size;
  }

  get refused(): number {
    return this.#refused;
  }

  get violations(): readonly Violation[] {
    return this.#violations;
  }

  /** The device may do nothing from now on. */
  suspended(device: string): void {
    this.#suspended.set(device, performance.now() + graceMs);
  }

  /** Before it is told to the gateway. */
  resumes(device: string): void {
    this.#judgeSuspended(device);
    this.#suspended.delete(device);
  }

  /** Makes no new messages, waits for all that was promised, and judges. @returns what was violated in all. */
  async settle(): Promise<readonly Violation[]> {
    for (const device of this.#suspended.keys()) this.#judgeSuspended(device);
    this.#stopping = true;
    await this.#load;
    const missing = (): string[] => [...this.#promised.keys()].filter((m) => !this.#arrived.has(m));
    await until('what was promised', arrivalLimitMs, () => missing().length === 0).catch(() => {});
    // What would come twice, or to somebody else, comes about now.
    await delay(graceMs);
    for (const message of missing()) this.#violated('lost', message);
    for (const client of [this.#service, ...this.#devices]) {
      if (client.sessions !== 1) this.#violated('session lost', `${client.id} ${client.sessions}`);
    }
    return this.#violations;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    this.#load.catch(() => {});
    await Promise.all([this.#service, ...this.#devices].map((client) => client.stop()));
  }

  async #publishes(device: LastingClient, index: number): Promise<void> {
    const { everyMs, devices } = this.#options;
    const other = devices[(index + 1) % devices.length]?.id ?? device.id;
    for (let seq = 1; !this.#stopping; seq += 1) {
      await delay(everyMs);
      if (device.open >= mostOpen || this.#suspended.has(device.id)) continue;
      const qos = seq % 2 === 0 ? 2 : 1;
      const name = `${device.id} ${seq} QoS ${qos}`;
      const channel = seq % 3 === 0 ? 'diagnostics' : 'telemetry';
      void device.publish(`devices/${device.id}/${channel}`, name, qos).then((outcome) => {
        if (outcome === 'promised') this.#promised.set(name, { device: device.id, qos });
        else this.#refused += 1;
      });
      // Now and then it tries what no policy allows.
      if (seq % 50 !== 0 || other === device.id) continue;
      void device
        .publish(`devices/${other}/telemetry`, `trespass of ${device.id}`, 1)
        .then((outcome) => {
          if (outcome === 'promised') this.#violated('trespass', `${device.id} as ${other}`);
        });
    }
    await until(`the answers for ${device.id}`, arrivalLimitMs, () => device.open === 0);
  }

  async #commands(): Promise<void> {
    for (let n = 0; !this.#stopping; n += 1) {
      await delay(this.#options.everyMs);
      const device = this.#options.devices[n % this.#options.devices.length]?.id;
      if (device === undefined || this.#service.open >= mostOpen) continue;
      void this.#service.publish(`devices/${device}/commands/do`, `for ${device}`, 1);
    }
    await until('the answers for the service', arrivalLimitMs, () => this.#service.open === 0);
  }

  #received(topic: string, payload: string): void {
    const [device = '', , , qos] = payload.split(' ');
    if (topic.split('/')[1] !== device) this.#violated('crossed', `${payload} on ${topic}`);
    const times = (this.#arrived.get(payload) ?? 0) + 1;
    this.#arrived.set(payload, times);
    if (qos === '2' && times > 1) this.#violated('twice', payload);
  }

  #commanded(device: string, topic: string, payload: string): void {
    if (topic === `devices/${device}/commands/do` && payload === `for ${device}`) return;
    this.#violated('crossed', `${device} got ${payload} on ${topic}`);
  }

  #judgeSuspended(device: string): void {
    const since = this.#suspended.get(device);
    const client = this.#devices.find(({ id }) => id === device);
    if (since === undefined || client === undefined || client.lastServedAt <= since) return;
    this.#violated('served while suspended', `${device}, ${client.lastServedAt - since} ms late`);
  }

  #violated(what: Violation['what'], detail: string): void {
    this.#violations.push({ what, detail });
  }
}
