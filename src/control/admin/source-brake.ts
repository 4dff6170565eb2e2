/**
 * Slows down guessing: after each attempt a source waits twice as long as before, until one succeeds.
 */
import { isIPv6 } from 'node:net';
import type { Clock } from '../../common/base/clock.ts';

/** The wait after the first attempt, and the longest one. */
const firstWaitMs = 1000;
const longestWaitMs = 5 * 60_000;
/** Sources remembered at once. When all of them are still waiting, newcomers wait too: memory stays bounded. */
const maxSources = 4096;

interface Attempts {
  count: number;
  notBefore: number;
}

export class SourceBrake {
  readonly #clock: Clock;
  readonly #sources = new Map<string, Attempts>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Counts an attempt. It is charged before its outcome is known, so that attempts made at the same time do not pass
   * together.
   * @returns 0 when the attempt may go on, else the milliseconds to wait.
   */
  enter(source: string): number {
    const now = this.#clock.monotonic();
    const known = this.#sources.get(source);
    if (known !== undefined && now < known.notBefore) return known.notBefore - now;
    if (known === undefined && !this.#hasRoom(now)) return firstWaitMs;
    const count = (known?.count ?? 0) + 1;
    const waitMs = Math.min(firstWaitMs * 2 ** (count - 1), longestWaitMs);
    this.#sources.set(source, { count, notBefore: now + waitMs });
    return 0;
  }

  succeeded(source: string): void {
    this.#sources.delete(source);
  }

  #hasRoom(now: number): boolean {
    if (this.#sources.size < maxSources) return true;
    for (const [source, attempts] of this.#sources) {
      if (attempts.notBefore + longestWaitMs <= now) this.#sources.delete(source);
    }
    return this.#sources.size < maxSources;
  }
}

/**
 * What counts as one source: an IPv4 address, or an IPv6 /64, because whoever has one address of it has them all.
 * `::ffff:192.0.2.1` is the IPv4 address.
 */
export function sourceKey(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  if (!isIPv6(address)) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = '', tail] = (address.split('%', 1)[0] ?? '').split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const after = tail === '' ? 0 : tail.split(':').length;
    while (groups.length + after < 8) groups.push('0');
  }
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}
