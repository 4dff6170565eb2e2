/**
 * Retained messages on their way to one session, at the speed of its reader and one subscription after the other: a
 * backend with a hundred thousand of them to get is not a slow one, and asking again and again starts nothing twice.
 */
import { messageOf } from '../../../common/base/errors.ts';
import type { RetainedMessage } from '../../broker/retained.ts';
import type { SubscriptionOptions } from '../../broker/ports.ts';

export interface WantedRetained {
  readonly filter: string;
  readonly options: SubscriptionOptions;
}

/** What a replay sees of its session. */
export interface ReplayTarget {
  match(filter: string): AsyncIterable<RetainedMessage>;
  /** Resolves when the reader has room, or is gone. */
  room(): Promise<void>;
  /** Whether this very subscription is still held, on a connection that lives. */
  wants(wanted: WantedRetained): boolean;
  deliver(message: RetainedMessage, options: SubscriptionOptions): void;
  failed(detail: string): void;
  /** Nothing is left to be replayed: these `Replays` may be forgotten. */
  done(): void;
}

export class Replays {
  readonly #target: ReplayTarget;
  /** Filter → its latest subscription; a newer one takes the place of one that waits. */
  readonly #waiting = new Map<string, SubscriptionOptions>();
  /** Topics whose retained message was replaced while a replay runs, and the new one has gone out live. */
  #replaced: Set<string> | undefined;

  constructor(target: ReplayTarget) {
    this.#target = target;
  }

  add(wanted: readonly WantedRetained[]): void {
    for (const { filter, options } of wanted) this.#waiting.set(filter, options);
    if (this.#replaced !== undefined) return;
    this.#replaced = new Set();
    this.#run()
      .catch((error: unknown) => this.#target.failed(messageOf(error)))
      .finally(() => {
        this.#replaced = undefined;
        // What was added when the last one had just ended, or after one that failed.
        if (this.#waiting.size > 0) this.add([]);
        else this.#target.done();
      });
  }

  /** A retained message went out live: what the replay may still have of its topic is older news. */
  replacedLive(topic: string): void {
    if (this.#replaced !== undefined && this.#replaced.size < rememberedTopics)
      this.#replaced.add(topic);
  }

  async #run(): Promise<void> {
    for (const [filter, options] of this.#waiting) {
      this.#waiting.delete(filter);
      await this.#replay({ filter, options });
    }
  }

  async #replay(wanted: WantedRetained): Promise<void> {
    const messages = this.#target.match(wanted.filter)[Symbol.asyncIterator]();
    try {
      for (;;) {
        // Room first: a message that was read before a long wait would be old when it goes out.
        await this.#target.room();
        const next = await messages.next();
        if (next.done === true || !this.#target.wants(wanted)) return;
        if (this.#replaced?.has(next.value.topic) !== true)
          this.#target.deliver(next.value, wanted.options);
      }
    } finally {
      await messages.return?.();
    }
  }
}

/** Beyond this many a retained message may follow a newer live one. */
const rememberedTopics = 10_000;
