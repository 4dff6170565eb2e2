/**
 * The identities that this worker serves over HTTPS: one claim each and source, however many connections it has, so that
 * its rate budget is the one that all protocols and workers share, and its home knows where it is used. The claim
 * outlives the last connection by a little: a device that connects anew for every message does not claim anew each time.
 */
import type { Clock } from '../../../common/base/clock.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { RateBudget } from '../../policy/ports.ts';
import { sourceOf } from '../../../common/base/source-network.ts';
import type { HttpsPorts, PresenceClaim } from './ports.ts';

const lingerMs = 10_000;
/** Claims without a connection. Beyond it the oldest is released at once. */
const maxLingering = 10_000;

export interface Presence {
  readonly rates: RateBudget;
  /** A client id for one subscriber of the identity; no other has it. */
  nextId(): string;
  /** MUST be called once. */
  leave(): void;
}

export interface PresenceParts {
  readonly claim: HttpsPorts['claim'];
  readonly clock: Clock;
  readonly limits: () => Pick<LimitsDocument, 'connectionsPerIdentity'>;
  /** Begins the client ids of this worker, and of no other: `presenceId`. */
  readonly clientId: string;
}

interface Served {
  readonly principal: PrincipalName;
  readonly source: string;
  /** Of its first connection. */
  readonly remote: string;
  readonly rates: RateBudget;
  connections: number;
  /** Undefined when it was lost: claimed anew when it is needed. */
  claim: PresenceClaim | undefined;
  claiming: Promise<PresenceClaim> | undefined;
  leftAt: number;
}

export class Presences {
  readonly #parts: PresenceParts;
  /** By principal and source. */
  readonly #served = new Map<string, Served>();
  /** In the order in which they lost their last connection. */
  readonly #lingering = new Set<Served>();
  /** Connections, from wherever they come. */
  readonly #perIdentity = new Map<PrincipalName, number>();
  #lastId = 0;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#served.size;
  }

  /**
   * One more connection of the identity.
   *
   * @throws SallyportError `quota` when it has as many as it may; `busy` when its home cannot be asked, or does not let it in
   *   from `remote`.
   */
  async join(principal: PrincipalName, remote: string): Promise<Presence> {
    const open = this.#perIdentity.get(principal) ?? 0;
    if (open >= this.#parts.limits().connectionsPerIdentity) {
      throw new SallyportError('quota', 'limits.connectionsPerIdentity');
    }
    this.#perIdentity.set(principal, open + 1);
    const source = sourceOf(remote);
    const key = keyOf(principal, source);
    let served = this.#served.get(key);
    if (served === undefined) {
      served = this.#newServed(principal, source, remote);
      this.#served.set(key, served);
    }
    const joined = served;
    joined.connections += 1;
    this.#lingering.delete(joined);
    try {
      if (joined.claim === undefined) await this.#claim(joined);
    } catch (error) {
      this.#left(joined);
      throw error;
    }
    return {
      rates: joined.rates,
      nextId: () => {
        this.#lastId += 1;
        return `${this.#parts.clientId}.${this.#lastId}`;
      },
      leave: () => this.#left(joined),
    };
  }

  /** Called about once a second. */
  sweep(): void {
    const before = this.#parts.clock.monotonic() - lingerMs;
    for (const served of this.#lingering) {
      if (served.leftAt > before) return;
      this.#release(served);
    }
  }

  /** Nobody lingers any more. */
  close(): void {
    for (const served of this.#lingering) this.#release(served);
  }

  #newServed(principal: PrincipalName, source: string, remote: string): Served {
    const served: Served = {
      principal,
      source,
      remote,
      rates: {
        take: (buckets, cost) =>
          served.claim === undefined
            ? this.#claim(served).then(
                (claim) => claim.rates.take(buckets, cost),
                // Its home cannot be asked: nothing may be taken.
                () => false,
              )
            : served.claim.rates.take(buckets, cost),
        levels: (buckets) => served.claim?.rates.levels?.(buckets),
      },
      connections: 0,
      claim: undefined,
      claiming: undefined,
      leftAt: 0,
    };
    return served;
  }

  #claim(served: Served): Promise<PresenceClaim> {
    served.claiming ??= this.#claimNow(served).finally(() => {
      served.claiming = undefined;
    });
    return served.claiming;
  }

  async #claimNow(served: Served): Promise<PresenceClaim> {
    const { claim, clientId } = this.#parts;
    // It may be lost before the promise of it is settled.
    const held: { claim: PresenceClaim | undefined; lost: boolean } = {
      claim: undefined,
      lost: false,
    };
    const { principal, source, remote } = served;
    const onTakenOver = (): undefined => {
      held.lost = true;
      if (served.claim === held.claim) served.claim = undefined;
    };
    held.claim = await claim(principal, `${clientId} ${source}`, onTakenOver, remote);
    if (held.lost) throw new SallyportError('busy', 'the identity was claimed elsewhere meanwhile');
    if (this.#served.get(keyOf(principal, source)) === served) served.claim = held.claim;
    else held.claim.release();
    return held.claim;
  }

  #left(served: Served): void {
    const open = (this.#perIdentity.get(served.principal) ?? 1) - 1;
    if (open > 0) this.#perIdentity.set(served.principal, open);
    else this.#perIdentity.delete(served.principal);
    served.connections -= 1;
    if (served.connections > 0) return;
    if (served.claim === undefined) {
      this.#release(served);
      return;
    }
    served.leftAt = this.#parts.clock.monotonic();
    this.#lingering.add(served);
    const [oldest] = this.#lingering;
    if (oldest !== undefined && this.#lingering.size > maxLingering) this.#release(oldest);
  }

  #release(served: Served): void {
    this.#lingering.delete(served);
    this.#served.delete(keyOf(served.principal, served.source));
    served.claim?.release();
    served.claim = undefined;
  }
}

/** A principal's name has no space. */
function keyOf(principal: PrincipalName, source: string): string {
  return `${principal} ${source}`;
}
