/**
 * Finds devices that are used from two addresses in turn: first one, then another, then the first again. A device that
 * changes its network once is none of them, and neither is one that connects again from where it was. Services are not
 * watched: several machines may well have one.
 *
 * What is known of a device goes with its home: after a worker has come or gone, an alternation may be seen one turn late.
 */
import type { Clock } from '../../common/base/clock.ts';
import { principalParts } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { sourceOf } from '../../common/base/source-network.ts';

/** Where a device was seen, and when, in milliseconds of the wall clock. */
export interface Sighting {
  readonly address: string;
  readonly at: number;
}

/** A device that was seen at the second address in between. */
export interface Suspicion {
  readonly principal: PrincipalName;
  /** Where it is now, and where it was before. */
  readonly addresses: readonly [Sighting, Sighting];
  /** Not said of this device within the window before. */
  readonly isNews: boolean;
}

interface Seen extends Sighting {
  readonly source: string;
  readonly monotonicMs: number;
}

interface Watched {
  /** One for each source, the latest last. */
  places: Seen[];
  reportedAt: number;
}

/** Devices watched at once, about 40 MB; the one that was seen least recently is forgotten first. */
const maxWatched = 100_000;
/** Sources remembered of one device. One that has more of them within the window is on the move. */
const maxPlaces = 4;

export class CloneWatch {
  readonly #clock: Clock;
  readonly #windowMs: () => number;
  readonly #devices = new Map<PrincipalName, Watched>();

  constructor(clock: Clock, windowMs: () => number) {
    this.#clock = clock;
    this.#windowMs = windowMs;
  }

  get size(): number {
    return this.#devices.size;
  }

  watches(principal: PrincipalName): boolean {
    return principalParts(principal).kind === 'device';
  }

  /** @param address empty when it is not known. */
  seen(principal: PrincipalName, address: string): Suspicion | undefined {
    if (address === '' || !this.watches(principal)) return undefined;
    const now = this.#clock.monotonic();
    const windowMs = this.#windowMs();
    const device = this.#devices.get(principal) ?? {
      places: [],
      reportedAt: Number.NEGATIVE_INFINITY,
    };
    // Put last: the first ones are those to forget.
    this.#devices.delete(principal);
    this.#devices.set(principal, device);
    const [oldest] = this.#devices.keys();
    if (this.#devices.size > maxWatched && oldest !== undefined) this.#devices.delete(oldest);

    const source = sourceOf(address);
    const recent = device.places.filter(({ monotonicMs }) => now - monotonicMs <= windowMs);
    const before = recent.at(-1);
    const isBack = before?.source !== source && recent.some((place) => place.source === source);
    const here = { source, address, at: this.#clock.now(), monotonicMs: now };
    device.places = [...recent.filter((place) => place.source !== source), here].slice(-maxPlaces);
    if (before === undefined || !isBack) return undefined;
    return this.#suspicion(principal, device, here, before);
  }

  /** The device was found at two addresses at once. */
  usedTwice(principal: PrincipalName, address: string, other: string): Suspicion | undefined {
    const device = this.#devices.get(principal);
    if (device === undefined) return undefined;
    const at = this.#clock.now();
    return this.#suspicion(principal, device, { address, at }, { address: other, at });
  }

  /** Forgets what is older than the window. To be called every second or so. */
  sweep(): void {
    if (this.#devices.size === 0) return;
    const before = this.#clock.monotonic() - this.#windowMs();
    for (const [principal, { places }] of this.#devices) {
      if ((places.at(-1)?.monotonicMs ?? 0) >= before) return;
      this.#devices.delete(principal);
    }
  }

  #suspicion(
    principal: PrincipalName,
    device: Watched,
    here: Sighting,
    before: Sighting,
  ): Suspicion {
    const now = this.#clock.monotonic();
    const isNews = now - device.reportedAt > this.#windowMs();
    if (isNews) device.reportedAt = now;
    return {
      principal,
      addresses: [
        { address: here.address, at: here.at },
        { address: before.address, at: before.at },
      ],
      isNews,
    };
  }
}
