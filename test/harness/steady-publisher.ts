/** A device that goes on publishing, one numbered message after the other, while something happens around it. */
import { setInterval as ticks } from 'node:timers/promises';
import type { RawMqtt } from './raw-mqtt.ts';

const everyMs = 50;

export class SteadyPublisher {
  readonly #stop = new AbortController();
  readonly #client: RawMqtt;
  readonly #topic: string;
  readonly #done: Promise<void>;
  #acknowledged = 0;

  constructor(client: RawMqtt, topic: string) {
    this.#client = client;
    this.#topic = topic;
    this.#done = this.#run();
    // Whoever calls `stop` hears of it.
    this.#done.catch(() => {});
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** @returns how many messages were acknowledged: 1 … n. @throws when one was refused or the connection ended. */
  async stop(): Promise<number> {
    this.#stop.abort();
    await this.#done;
    return this.#acknowledged;
  }

  async #run(): Promise<void> {
    try {
      for await (const _ of ticks(everyMs, undefined, { signal: this.#stop.signal })) {
        const code = await this.#client.publish(
          this.#topic,
          JSON.stringify({ n: this.#acknowledged + 1 }),
        );
        if (code !== 0) throw new Error(`refused with 0x${code.toString(16)}`);
        this.#acknowledged += 1;
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
    }
  }
}
