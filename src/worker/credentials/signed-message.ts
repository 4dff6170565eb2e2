/** A message and its signature: verified once, whoever asks how often, and judged by the rules of each who asks. */
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { IntegrityDocument } from '../../common/config/proxied-route.ts';
import type { IntegrityVerdict, Signed } from '../policy/integrity.ts';
import type { FoundKey, RegisteredKeys } from './registered-keys.ts';
import type { Remembered, ReplayGuard } from './replay-guard.ts';
import type { SignatureClaim } from './signature-claim.ts';

export interface VerifyingParts {
  readonly keys: RegisteredKeys;
  readonly replays: Pick<ReplayGuard, 'remember'>;
  readonly clock: Clock;
}

/** Times are in whole seconds, and what is remembered must not be forgotten while it would still be taken. */
const roundingMs = 1_000;

interface Verified {
  readonly claim: SignatureClaim;
  readonly key: FoundKey;
}

export type Refusal = Extract<IntegrityVerdict, { ok: false }>;

const passed: IntegrityVerdict = Object.freeze({ ok: true });
const outcomes: Readonly<Record<Remembered, IntegrityVerdict>> = Object.freeze({
  new: passed,
  seen: failed('a replay: the nonce, or the signature, has been seen'),
  full: failed('limits.noncesPerIdentity is reached', 'rate'),
  unable: failed('the nonce cannot be stored', 'unavailable'),
});

function failed(detail: string, code?: Refusal['code']): Refusal {
  return code === undefined ? { ok: false, detail } : { ok: false, detail, code };
}

export class SignedMessage implements Signed {
  readonly #parts: VerifyingParts;
  readonly #read: () => SignatureClaim | string;
  #claim: SignatureClaim | string | undefined;
  readonly #principal: PrincipalName | undefined;
  #key: FoundKey | Refusal | undefined;
  #remembered: IntegrityVerdict | Promise<IntegrityVerdict> | undefined;

  /**
   * @param read what the message says of its signature, or what is wrong with that; not called when nobody asks.
   * @param principal whom the connection has proven already: the key has to be one of his. Undefined = nobody yet.
   */
  constructor(
    parts: VerifyingParts,
    read: () => SignatureClaim | string,
    principal: PrincipalName | undefined,
  ) {
    this.#parts = parts;
    this.#read = read;
    this.#principal = principal;
  }

  verify(rules: IntegrityDocument): IntegrityVerdict | Promise<IntegrityVerdict> {
    const judged = this.#judge(rules);
    if ('ok' in judged) return judged;
    // Of several rules the narrowest window ends first, and with it the use of a replay: any of them will do.
    this.#remembered ??= this.#remember(judged, rules.windowMs);
    return this.#remembered;
  }

  /**
   * Whose key has signed this, and when, by these rules; that it is new is not looked at, and nothing is stored. Who is
   * let in by it MUST pass `verify` too.
   */
  signer(rules: IntegrityDocument): FoundKey | Refusal {
    const judged = this.#judge(rules);
    return 'ok' in judged ? judged : judged.key;
  }

  #judge(rules: IntegrityDocument): Verified | Refusal {
    const claim = (this.#claim ??= this.#read());
    if (typeof claim === 'string') return failed(claim);
    if (!rules.accept.includes(claim.method)) return failed(`${claim.method} is not accepted here`);
    const late = this.#outOfTime(claim, rules.windowMs);
    if (late !== undefined) return failed(late);
    this.#key ??= this.#keyThatHolds(claim);
    return 'ok' in this.#key ? this.#key : { claim, key: this.#key };
  }

  #outOfTime({ signedAt, expiresAt }: SignatureClaim, windowMs: number): string | undefined {
    const now = this.#parts.clock.now();
    if (signedAt !== undefined && Math.abs(now - signedAt) > windowMs) {
      const seconds = Math.round((now - signedAt) / 1_000);
      return `signed ${Math.abs(seconds)} s ${seconds < 0 ? 'in the future' : 'ago'}`;
    }
    return expiresAt !== undefined && expiresAt <= now ? 'the signature has expired' : undefined;
  }

  #keyThatHolds(claim: SignatureClaim): FoundKey | Refusal {
    const { keys } = this.#parts;
    const principal = this.#principal;
    if (claim.keyId === undefined) {
      if (principal === undefined) return failed('no key id, and nobody who has authenticated');
      for (const key of keys.hmacKeysOf(principal)) {
        if (claim.problemUnder(key) === undefined) return key;
      }
      return failed('the signature does not verify under any key of the principal');
    }
    const key = keys.keyOf(claim.keyId);
    if (typeof key === 'string') return failed(key);
    if (principal !== undefined && key.principal !== principal) {
      return failed('the key belongs to another principal');
    }
    const problem = claim.problemUnder(key);
    return problem === undefined ? key : failed(problem);
  }

  #remember(
    { claim, key }: Verified,
    windowMs: number,
  ): IntegrityVerdict | Promise<IntegrityVerdict> {
    const ttlMs = 2 * windowMs + roundingMs;
    const remembered = this.#parts.replays.remember(key.principal, claim.once, ttlMs);
    if (!(remembered instanceof Promise)) return outcomes[remembered];
    return remembered.then((outcome) => outcomes[outcome]);
  }
}
