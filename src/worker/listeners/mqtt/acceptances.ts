/**
 * Messages of one client that were accepted and are not durable yet. They are published and acknowledged in the order
 * in which they came (MQTT-4.6.0-2), while the next ones are already being stored: a client that waits for no answer is
 * not held to one message per flush of the disk. Bounded; beyond the bounds nothing more is read from it.
 */
import type { Message } from '../../broker/message.ts';

export interface AcceptanceLimits {
  /** Messages that wait; beyond them reading is paused. */
  readonly receiveMaximum: number;
  /** Bytes of their payloads. */
  readonly outboundBytes: number;
}

export interface AcceptanceTarget {
  /**
   * Its turn has come: it is durable where it has to be, and everything before it has been answered.
   *
   * @param stored false when there was nothing to store.
   */
  ready(message: Message, packetId: number, stored: boolean): void;
  /** Its turn has come, and it could not be stored. */
  failed(message: Message, packetId: number, error: unknown): void;
}

/** Of one promise, and all messages that wait for it. */
interface Outcome {
  readonly storing: Promise<unknown> | undefined;
  state: 'storing' | 'ready' | 'failed';
  error: unknown;
}

interface Waiting {
  readonly message: Message;
  readonly packetId: number;
  readonly outcome: Outcome;
}

const nothingStored: Outcome = { storing: undefined, state: 'ready', error: undefined };

export class Acceptances {
  readonly #limits: AcceptanceLimits;
  readonly #target: AcceptanceTarget;
  readonly #waiting: Waiting[] = [];
  #bytes = 0;
  #unacknowledged = 0;
  readonly #forRoom: (() => void)[] = [];
  readonly #forNone: (() => void)[] = [];

  constructor(limits: AcceptanceLimits, target: AcceptanceTarget) {
    this.#limits = limits;
    this.#target = target;
  }

  /** Nothing waits: what comes now may be answered at once. */
  get idle(): boolean {
    return this.#waiting.length === 0;
  }

  /** Messages of QoS 1 that wait for their answer. */
  get unacknowledged(): number {
    return this.#unacknowledged;
  }

  /** More waits than may. */
  get full(): boolean {
    const { receiveMaximum, outboundBytes } = this.#limits;
    return this.#waiting.length > receiveMaximum || this.#bytes > outboundBytes;
  }

  /** @param storing undefined when there is nothing to wait for but those before it. */
  add(message: Message, packetId: number, storing: Promise<unknown> | undefined): void {
    const outcome = storing === undefined ? nothingStored : this.#outcomeOf(storing);
    this.#waiting.push({ message, packetId, outcome });
    this.#bytes += message.payload.length;
    if (message.qos === 1) this.#unacknowledged += 1;
  }

  /**
   * Whether a retained message of this topic waits. Two that are stored at the same time have no order, and the older
   * one could stay.
   */
  retains(topic: string): boolean {
    return this.#waiting.some(({ message }) => message.retain && message.topic === topic);
  }

  /** Resolves when less than half of the bounds is used. */
  async room(): Promise<void> {
    if (!this.#roomy()) await new Promise<void>((resolve) => this.#forRoom.push(resolve));
  }

  /** Resolves when nothing waits. */
  async none(): Promise<void> {
    if (!this.idle) await new Promise<void>((resolve) => this.#forNone.push(resolve));
  }

  /** What is written in one turn has one promise: it is waited for once, and then all of it answered in one go. */
  #outcomeOf(storing: Promise<unknown>): Outcome {
    const last = this.#waiting.at(-1)?.outcome;
    if (last?.storing === storing) return last;
    const outcome: Outcome = { storing, state: 'storing', error: undefined };
    storing.then(
      () => {
        outcome.state = 'ready';
        this.#advance();
      },
      (error: unknown) => {
        outcome.state = 'failed';
        outcome.error = error;
        this.#advance();
      },
    );
    return outcome;
  }

  #advance(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || next.outcome.state === 'storing') break;
      this.#waiting.shift();
      const { message, packetId, outcome } = next;
      this.#bytes -= message.payload.length;
      if (message.qos === 1) this.#unacknowledged -= 1;
      const { storing, state, error } = outcome;
      if (state === 'ready') this.#target.ready(message, packetId, storing !== undefined);
      else this.#target.failed(message, packetId, error);
    }
    if (this.#roomy()) wake(this.#forRoom);
    if (this.idle) wake(this.#forNone);
  }

  #roomy(): boolean {
    const { receiveMaximum, outboundBytes } = this.#limits;
    return this.#waiting.length * 2 <= receiveMaximum && this.#bytes * 2 <= outboundBytes;
  }
}

function wake(waiting: (() => void)[]): void {
  for (const resolve of waiting.splice(0)) resolve();
}
