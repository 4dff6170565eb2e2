/**
 * Asks one server again and again whether it is well, on connections of their own: whoever has all of its connections busy
 * is not ill.
 */
import type { Clock } from '../../../common/base/clock.ts';
import { messageOf } from '../../../common/base/errors.ts';
import type { UpstreamHealth } from '../../../common/ipc/snapshot.ts';
import { Connection } from './connection.ts';
import type { ConnectionOwner, Endpoint, Exchange } from './connection.ts';
import type { ParsedHead } from './answer-head.ts';
import type { Timers } from '../ports.ts';

/** Checks do not all come at once: each is early or late by up to this share. */
const jitter = 0.1;

export interface HealthParts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: () => number;
  readonly authority: string;
  readonly endpoint: () => Endpoint;
  /** @param detail what was wrong; undefined: it is well. */
  readonly found: (detail: string | undefined) => void;
}

export class HealthCheck {
  readonly settings: UpstreamHealth;
  readonly #parts: HealthParts;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(settings: UpstreamHealth, parts: HealthParts) {
    this.settings = settings;
    this.#parts = parts;
    this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #ask(): void {
    const { path, timeoutMs } = this.settings;
    const { clock, timers, authority, endpoint } = this.#parts;
    const probe = new Probe(path, authority, clock.monotonic() + timeoutMs, (detail) => {
      this.#cancel?.();
      this.#cancel = undefined;
      if (this.#stopped) return;
      this.#parts.found(detail);
      this.#cancel = timers.after(this.#pauseMs(), () => this.#ask());
    });
    const late = timers.after(timeoutMs, () => probe.settle('no answer in time'));
    this.#cancel = () => {
      late();
      probe.abandon();
    };
    try {
      probe.carriedBy(new Connection(endpoint(), probe, probe.owner(clock)));
    } catch (error) {
      probe.settle(messageOf(error));
    }
  }

  #pauseMs(): number {
    return this.settings.everyMs * (1 + jitter * (2 * this.#parts.random() - 1));
  }
}

class Probe implements Exchange {
  readonly method = 'GET';
  readonly expected = 'answer';
  readonly body = undefined;
  readonly head: string;
  readonly endsAt: number;
  readonly #settled: (detail: string | undefined) => void;
  #isSettled = false;
  #connection: Connection | undefined;

  constructor(
    path: string,
    authority: string,
    endsAt: number,
    settled: (detail: string | undefined) => void,
  ) {
    this.head = `GET ${path} HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n`;
    this.endsAt = endsAt;
    this.#settled = settled;
  }

  owner(clock: Clock): ConnectionOwner {
    return { clock, idle: () => {}, gone: () => {}, freed: () => {} };
  }

  carriedBy(connection: Connection): void {
    this.#connection = connection;
  }

  abandon(): void {
    this.#isSettled = true;
    this.#connection?.destroy();
  }

  settle(detail: string | undefined): void {
    if (this.#isSettled) return;
    this.abandon();
    this.#settled(detail);
  }

  answered({ status }: ParsedHead): void {
    // The body may be as long as it likes: nobody reads it.
    this.settle(status < 400 ? undefined : `answered ${status}`);
  }

  lost({ detail }: { readonly detail: string }): void {
    this.settle(detail);
  }

  data(): boolean {
    return true;
  }

  connected(): void {}
  drained(): void {}
  complete(): void {}
  switched(): void {}
}
