/**
 * The life of a device: it connects, says that it is there, measures and sends, does what it is told, and comes back
 * after every interruption until it is stopped or turned away for good.
 */
import type { Clock } from '../common/base/clock.ts';
import type { SallyportError } from '../common/base/errors.ts';
import { Backoff } from './backoff.ts';
import type { BackoffLimits } from './backoff.ts';
import { isFinal, Refusal } from './link.ts';
import type { Command, DeviceLink, LinkEvents } from './link.ts';
import { pause } from './pause.ts';
import { jittered } from './random.ts';
import type { RandomSource } from './random.ts';
import { linkError } from './tls-client.ts';
import { countIn } from './tally.ts';
import type { Tally } from './tally.ts';

/** Readings that a device keeps for a gateway that does not answer; then it measures no more until it does. */
const maxUnanswered = 16;
/** For the last words of a device that stops. */
const farewellMs = 2_000;

export interface DeviceOptions {
  readonly id: string;
  /** A new connection, which is not open yet. */
  readonly link: (events: LinkEvents) => DeviceLink;
  /** The next reading, as it goes on the wire. */
  readonly measure: () => Buffer;
  /** From one reading to the next, on average. */
  readonly intervalMs: number;
  readonly backoff: BackoffLimits;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly tally: Tally;
  /** Asked before every reading: false when the fleet has made as many as it was to make. */
  readonly mayMeasure: () => boolean;
  /** Something was counted, or the phase changed. */
  readonly changed: () => void;
}

/** waiting: for its turn, or for the next attempt. refused: turned away for good. */
export type DevicePhase = 'waiting' | 'connecting' | 'connected' | 'refused' | 'stopped';

interface Sample {
  readonly payload: Buffer;
  sentAt: number | undefined;
}

export class Device {
  readonly #options: DeviceOptions;
  readonly #stop = new AbortController();
  readonly #backoff: Backoff;
  /** Oldest first. */
  readonly #unanswered = new Set<Sample>();
  #phase: DevicePhase = 'waiting';
  #life: Promise<void> = Promise.resolve();
  #everConnected = false;
  #lastEnd: SallyportError | undefined;

  constructor(options: DeviceOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.backoff, options.random);
  }

  get phase(): DevicePhase {
    return this.#phase;
  }

  get everConnected(): boolean {
    return this.#everConnected;
  }

  /** Why its last connection ended or could not be made. */
  get lastEnd(): SallyportError | undefined {
    return this.#lastEnd;
  }

  start(afterMs: number): void {
    this.#life = this.#live(afterMs);
  }

  /** Says goodbye. Resolves when the device does nothing any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#life;
  }

  async #live(afterMs: number): Promise<void> {
    let pauseMs = afterMs;
    while ((await pause(pauseMs, this.#stop.signal)) && !this.#isStopped()) {
      const end = await this.#connection();
      if (this.#isStopped()) break;
      this.#lastEnd = end;
      countIn(this.#options.tally.ended, end.code);
      if (isFinal(end.code)) return this.#over('refused');
      this.#options.tally.reconnects += 1;
      this.#enter('waiting');
      pauseMs = this.#backoff.nextMs();
    }
    return this.#over('stopped');
  }

  #isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** One connection from its beginning to its end. @returns why it ended. */
  async #connection(): Promise<SallyportError> {
    this.#enter('connecting');
    const link = this.#options.link({ command: (command) => this.#obey(link, command) });
    const stopped = (): void => this.#sayGoodbye(link);
    this.#stop.signal.addEventListener('abort', stopped);
    try {
      await link.open();
      this.#everConnected = true;
      this.#enter('connected');
      void this.#tell(link, { online: true });
      for (const sample of this.#unanswered) void this.#send(link, sample);
      await this.#measure(link);
      return await link.ended;
    } catch (error) {
      link.close();
      return linkError(error);
    } finally {
      this.#stop.signal.removeEventListener('abort', stopped);
    }
  }

  /** Until the link has ended or nothing more is to be measured. */
  async #measure(link: DeviceLink): Promise<void> {
    const { clock, random, intervalMs, tally } = this.#options;
    const over = new AbortController();
    void link.ended.then(() => over.abort());
    // The first one at any moment of an interval: a fleet that came back together does not go on together.
    let dueAt = clock.monotonic() + intervalMs * random();
    for (;;) {
      if (!(await pause(Math.max(0, dueAt - clock.monotonic()), over.signal))) return;
      // What was missed while the process was busy is not made up for.
      dueAt = Math.max(dueAt + jittered(intervalMs, random), clock.monotonic());
      if (this.#isStopped()) return;
      if (this.#unanswered.size >= maxUnanswered) {
        tally.heldBack += 1;
        continue;
      }
      if (!this.#options.mayMeasure()) return;
      const sample: Sample = { payload: this.#options.measure(), sentAt: undefined };
      tally.sent += 1;
      this.#unanswered.add(sample);
      void this.#send(link, sample);
    }
  }

  async #send(link: DeviceLink, sample: Sample): Promise<void> {
    const { clock, tally, changed } = this.#options;
    sample.sentAt ??= clock.monotonic();
    try {
      await link.publish('telemetry', sample.payload);
      tally.acknowledgedAfter(clock.monotonic() - sample.sentAt);
    } catch (error) {
      // Without an answer it is sent again on the next connection.
      if (!(error instanceof Refusal)) return;
      countIn(tally.refused, error.code);
    }
    this.#unanswered.delete(sample);
    this.#backoff.reset();
    changed();
  }

  async #obey(link: DeviceLink, command: Command): Promise<void> {
    const { tally, changed } = this.#options;
    const { name, id, correlationData } = command;
    const answer = Buffer.from(JSON.stringify({ command: name, id, result: 'ok' }));
    try {
      await link.publish('command_responses', answer, { correlationData });
      tally.commandsAnswered += 1;
    } catch (error) {
      // Done is done: an answer that is refused is not asked for again. One that was lost is.
      if (!(error instanceof Refusal)) throw error;
      countIn(tally.refusedOthers, error.code);
    }
    changed();
  }

  async #tell(link: DeviceLink, status: { readonly online: boolean }): Promise<void> {
    try {
      await link.publish('status', Buffer.from(JSON.stringify(status)), { retain: true });
    } catch (error) {
      // The end of the link is the life's to see.
      if (error instanceof Refusal) countIn(this.#options.tally.refusedOthers, error.code);
    }
  }

  #sayGoodbye(link: DeviceLink): void {
    if (this.#phase !== 'connected') return link.close();
    const limit = setTimeout(() => link.close(), farewellMs);
    void this.#tell(link, { online: false }).then(() => {
      clearTimeout(limit);
      link.close();
    });
  }

  #over(phase: 'refused' | 'stopped'): void {
    this.#options.tally.abandoned += this.#unanswered.size;
    this.#unanswered.clear();
    this.#enter(phase);
  }

  #enter(phase: DevicePhase): void {
    this.#phase = phase;
    this.#options.changed();
  }
}
