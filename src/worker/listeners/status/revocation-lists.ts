/**
 * The CRLs of our own CAs, as control has signed them. A list is shown for as long as it is valid and looked after
 * meanwhile: nobody waits for control because of its age, and somebody does, a little, when it lacks a revocation.
 */
import { hash } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import { settledWithin } from '../../../common/base/settled-within.ts';
import type { CrlAnswer } from '../../../common/ipc/control-calls.ts';
import type { StatusPorts } from './ports.ts';

/** How often control is asked whether there is a newer list. */
const lookMs = 60_000;
/** The same when control had no answer, and while it may still be signing the list that has the last revocation. */
const soonMs = 2_000;
const signingMs = 120_000;
/** For a list that should have one more entry; then the last one is shown, which is valid for as long as it says. */
const waitMs = 3_000;

export interface RevocationList {
  readonly der: Buffer;
  readonly number: number;
  /** Milliseconds. */
  readonly nextUpdate: number;
  /** Of its bytes: each CA counts its lists by itself. */
  readonly tag: string;
}

interface Kept {
  list: RevocationList | undefined;
  /** The list is of the CA that would be asked for now, so that its number says which one it is. */
  isComparable: boolean;
  /** By a clock that nobody sets. */
  askAt: number;
  /** A revocation may be missing from it. */
  lacks: boolean;
  asking: Promise<void> | undefined;
  failure: unknown;
}

const unknown: Readonly<Kept> = {
  list: undefined,
  isComparable: false,
  askAt: Number.NEGATIVE_INFINITY,
  lacks: false,
  asking: undefined,
  failure: undefined,
};

export class RevocationLists {
  readonly #ports: Pick<StatusPorts, 'clock' | 'call'>;
  readonly #kept = new Map<string, Kept>();
  /** By a clock that nobody sets: for how long a list that is newer may be on its way. */
  #signingUntil = Number.NEGATIVE_INFINITY;

  constructor(ports: Pick<StatusPorts, 'clock' | 'call'>) {
    this.#ports = ports;
  }

  /** @returns at once when the one in store will do. */
  find(issuer: string | undefined, delta: boolean): RevocationList | undefined {
    const kept = this.#of(issuer, delta);
    const valid = this.#valid(kept);
    if (valid === undefined || kept.lacks) return undefined;
    if (this.#ports.clock.monotonic() >= kept.askAt) void this.#refresh(issuer, delta, kept);
    return valid;
  }

  /**
   * As new as control has it, or else the last one that is valid.
   *
   * @param issuer key identifier, in hex, of one of our CAs; undefined = the one that issues now.
   * @throws SallyportError `not-found` when there is no such list, or why there is none to show.
   */
  async ask(issuer: string | undefined, delta: boolean): Promise<RevocationList> {
    const kept = this.#of(issuer, delta);
    if (kept.asking !== undefined || this.#ports.clock.monotonic() >= kept.askAt) {
      const refreshed = this.#refresh(issuer, delta, kept);
      await (this.#valid(kept) === undefined ? refreshed : settledWithin(refreshed, waitMs));
    }
    const valid = this.#valid(kept);
    if (valid !== undefined) return valid;
    if (kept.failure instanceof SallyportError) throw kept.failure;
    throw new SallyportError('unavailable', 'there is no valid CRL');
  }

  /** Each list may lack one now. */
  revoked(): void {
    this.#signingUntil = this.#ports.clock.monotonic() + signingMs;
    for (const kept of this.#kept.values()) {
      kept.lacks = true;
      kept.askAt = Number.NEGATIVE_INFINITY;
    }
  }

  /**
   * To be called whenever another CA may issue.
   *
   * @param issuers the CAs that there are.
   */
  keepOnly(issuers: ReadonlySet<string>): void {
    for (const [key, { list }] of this.#kept) {
      const [issuer = ''] = key.split(' ');
      // An answer that is on its way may be of the CA before: it finds nobody.
      if (issuer === '') this.#kept.set(key, { ...unknown, list, lacks: list !== undefined });
      else if (!issuers.has(issuer)) this.#kept.delete(key);
    }
  }

  #of(issuer: string | undefined, delta: boolean): Kept {
    const key = `${issuer ?? ''} ${delta ? 'delta' : 'full'}`;
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    const kept: Kept = { ...unknown };
    this.#kept.set(key, kept);
    return kept;
  }

  #valid({ list }: Kept): RevocationList | undefined {
    return list !== undefined && this.#ports.clock.now() < list.nextUpdate ? list : undefined;
  }

  /** Once for all who ask meanwhile. Does not reject. */
  async #refresh(issuer: string | undefined, delta: boolean, kept: Kept): Promise<void> {
    kept.asking ??= this.#take(issuer, delta, kept).finally(() => {
      kept.asking = undefined;
    });
    return kept.asking;
  }

  async #take(issuer: string | undefined, delta: boolean, kept: Kept): Promise<void> {
    const { call, clock } = this.#ports;
    // A revocation from now on may come too late for the answer.
    kept.lacks = false;
    const now = clock.monotonic();
    // Control gives the list before when a new one takes long.
    kept.askAt = now + (now < this.#signingUntil ? soonMs : lookMs);
    try {
      const before = kept.isComparable ? kept.list : undefined;
      const have = before?.number;
      const answer = await call({ what: 'crl', issuer, delta, have });
      if (!isCrlAnswer(answer)) throw new SallyportError('internal', 'no CRL');
      kept.list = listOf(answer, before);
      kept.isComparable = true;
      kept.failure = undefined;
    } catch (error) {
      kept.failure = error;
      kept.askAt = clock.monotonic() + soonMs;
    }
  }
}

/** @throws SallyportError `internal` when there is none in the answer and none before that it could mean. */
function listOf(answer: CrlAnswer, before: RevocationList | undefined): RevocationList {
  const { number, nextUpdate } = answer;
  if (answer.der === undefined) {
    if (before?.number !== number) throw new SallyportError('internal', 'no CRL');
    return { ...before, nextUpdate };
  }
  const der = Buffer.from(answer.der, 'base64');
  return { der, number, nextUpdate, tag: hash('sha256', der, 'hex').slice(0, 32) };
}

function isCrlAnswer(value: unknown): value is CrlAnswer {
  if (typeof value !== 'object' || value === null) return false;
  const { der, number, nextUpdate }: Partial<Record<keyof CrlAnswer, unknown>> = value;
  return (
    (der === undefined || typeof der === 'string') &&
    typeof number === 'number' &&
    typeof nextUpdate === 'number'
  );
}
