/**
 * A device that numbers its messages and knows which of them it was promised: it sends a message again, over a new
 * connection, until the gateway has taken it, and never after that. What it sends is `{"seq":n,"sending":k}`, the n-th
 * message for the k-th time.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Gateway, Identity } from './gateway.ts';
import { HttpsDevice } from './https-device.ts';
import { RawMqtt } from './raw-mqtt.ts';
import { until, within } from './waiting.ts';

export interface NumberedOptions {
  readonly identity: Identity;
  /** The one that runs now: it may have been started anew, on other ports. */
  readonly gateway: () => Gateway;
  /** Where to reach it, in place of its own ports: by way of a proxy. */
  readonly ports?: Ports | undefined;
  readonly protocol: 'mqtts' | 'https';
  readonly channel: 'telemetry' | 'diagnostics';
  /** Messages that it sends without waiting for an answer; over HTTPS only 1. */
  readonly window: number;
  /** From one new message to the next, at least. */
  readonly everyMs: number;
}

export interface Ports {
  readonly mqtts: number;
  readonly https: number;
}

/** One connection. */
interface Link extends Disposable {
  /** Undefined when the gateway has taken it, else what it said. @throws when the connection has ended. */
  send(payload: string): Promise<string | undefined>;
}

const connectLimitMs = 60_000;
const answerLimitMs = 30_000;
/** Before the next try when the gateway has refused a message. */
const refusedPauseMs = 200;

export class NumberedDevice {
  readonly id: string;
  readonly #options: NumberedOptions;
  readonly #done: Promise<void>;
  readonly #stop = new AbortController();
  /** The messages without an answer, in their order, and how often each was sent. */
  readonly #open = new Map<number, number>();
  readonly #promised: number[] = [];
  readonly #refusals: string[] = [];
  #seq = 0;
  #dueAt = performance.now();
  #connections = 0;
  #repeated = 0;

  constructor(options: NumberedOptions) {
    this.id = options.identity.id;
    this.#options = options;
    this.#done = this.#run();
    // Whoever waits for it hears of it.
    this.#done.catch(() => {});
  }

  /** The messages that the gateway has taken. */
  get promised(): readonly number[] {
    return this.#promised;
  }

  /** What the gateway said when it did not take a message. */
  get refusals(): readonly string[] {
    return this.#refusals;
  }

  /** How often it has connected. */
  get connections(): number {
    return this.#connections;
  }

  /** Messages that it sent once more. */
  get repeated(): number {
    return this.#repeated;
  }

  /** As soon as so many more were taken than now. @throws what ended it, if anything has. */
  async taken(messages: number, limitMs: number): Promise<void> {
    const target = this.#promised.length + messages;
    const reached = until(
      `${this.id}: message ${target}; it has ${this.#promised.length}`,
      limitMs,
      () => this.#promised.length >= target,
    );
    await Promise.race([reached, this.#done]);
  }

  /** Makes no new messages; resolves when all that it made were taken. */
  async stop(limitMs: number): Promise<void> {
    this.#stop.abort();
    await within(this.#done, limitMs, `the last answers for ${this.id}`);
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted || this.#open.size > 0) {
      const link = await until(`a connection of ${this.id}`, connectLimitMs, () => this.#connect());
      this.#connections += 1;
      const answers: Promise<void>[] = [];
      try {
        await this.#converse(link, answers);
      } catch {
        // The connection is gone, or of no use: what has no answer goes over the next one.
      } finally {
        link[Symbol.dispose]();
        await Promise.allSettled(answers);
      }
    }
  }

  async #connect(): Promise<Link | undefined> {
    const { gateway, ports, identity, protocol, channel } = this.#options;
    try {
      return protocol === 'mqtts'
        ? await mqttLink(ports?.mqtts ?? gateway().mqttsPort, identity, channel)
        : httpsLink(ports?.https ?? gateway().httpsPort, identity, channel);
    } catch {
      // Nobody listens at this moment.
      return undefined;
    }
  }

  async #converse(link: Link, answers: Promise<void>[]): Promise<void> {
    const unanswered = [...this.#open.keys()];
    let oldest = 0;
    for (;;) {
      const seq = unanswered.shift() ?? (await this.#next());
      if (seq === undefined) break;
      const answer = this.#send(link, seq);
      answer.catch(() => {});
      answers.push(answer);
      if (answers.length - oldest < this.#options.window) continue;
      await answers[oldest];
      oldest += 1;
    }
    await Promise.all(answers);
  }

  /** The number of a new message when it is time for one; undefined when there are no more. */
  async #next(): Promise<number | undefined> {
    const { signal } = this.#stop;
    const now = performance.now();
    if (this.#dueAt > now) await delay(this.#dueAt - now, undefined, { signal }).catch(() => {});
    if (signal.aborted) return undefined;
    this.#dueAt = Math.max(this.#dueAt, now) + this.#options.everyMs;
    this.#seq += 1;
    return this.#seq;
  }

  async #send(link: Link, seq: number): Promise<void> {
    const sending = (this.#open.get(seq) ?? 0) + 1;
    this.#open.set(seq, sending);
    if (sending > 1) this.#repeated += 1;
    const refusal = await link.send(JSON.stringify({ seq, sending }));
    if (refusal !== undefined) {
      this.#refusals.push(refusal);
      await delay(refusedPauseMs);
      throw new Error(refusal);
    }
    this.#open.delete(seq);
    this.#promised.push(seq);
  }
}

async function mqttLink(port: number, identity: Identity, channel: string): Promise<Link> {
  const client = await RawMqtt.open({ port, identity });
  try {
    const { code } = await client.connect({ clientId: identity.id });
    if (code !== 0) throw new Error(`CONNACK 0x${code.toString(16)}`);
  } catch (error) {
    client[Symbol.dispose]();
    throw error;
  }
  return {
    async send(payload) {
      const code = await client.publish(`devices/${identity.id}/${channel}`, payload);
      return code === 0 ? undefined : `0x${code.toString(16)}`;
    },
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}

function httpsLink(port: number, identity: Identity, channel: NumberedOptions['channel']): Link {
  const device = new HttpsDevice({ port, identity });
  return {
    async send(payload) {
      const { status } = await device.request('POST', `/api/v1/${channel}`, {
        body: payload,
        limitMs: answerLimitMs,
      });
      return status === 202 ? undefined : String(status);
    },
    [Symbol.dispose]: () => device[Symbol.dispose](),
  };
}
