/** How identities behave, judged where all their claims meet: those that connect too often, those that are used twice. */
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { CloneRule, ClonesDocument } from '../../common/config/policy-document.ts';
import { isPresence } from '../broker/session-key.ts';
import { sourceOf } from '../../common/base/source-network.ts';
import { CloneWatch } from './clone-watch.ts';
import type { Suspicion } from './clone-watch.ts';
import { ConnectBrake } from './connect-brake.ts';
import type { ConnectLimits } from './connect-brake.ts';

export interface ConductRules {
  readonly clones: ClonesDocument;
  readonly connects: ConnectLimits;
}

export interface ConductOptions {
  readonly clock: Clock;
  /** Today's; undefined while there are none, and nobody is judged. */
  readonly rules: () => ConductRules | undefined;
  /** Once for each device and window. */
  readonly onClone: (suspicion: Suspicion, rule: CloneRule) => void;
}

/** A session of the identity, and the address that it was claimed from. */
interface Held {
  readonly remote: string;
}

export class IdentityConduct {
  readonly #options: ConductOptions;
  readonly #watch: CloneWatch;
  readonly #brake: ConnectBrake;

  constructor(options: ConductOptions) {
    const { clock, rules } = options;
    this.#options = options;
    this.#watch = new CloneWatch(clock, () => rules()?.clones.windowMs ?? 0);
    this.#brake = new ConnectBrake(clock, () => rules()?.connects ?? unlimited);
  }

  /** Whether the identity may begin one more session now. A presence is none. */
  admits(principal: PrincipalName, clientId: string): boolean {
    if (isPresence(clientId) || this.#options.rules() === undefined) return true;
    return this.#brake.admits(principal);
  }

  /** @returns whether the identity is used from two addresses in turn. */
  seen(principal: PrincipalName, remote: string): boolean {
    if (this.#options.rules() === undefined) return false;
    return this.#reported(this.#watch.seen(principal, remote));
  }

  /** Whether a claim from `remote` is refused, because the identity is in use from elsewhere and the rule is `refuse`. */
  refuses(principal: PrincipalName, remote: string, sessions: Iterable<Held>): boolean {
    if (this.#options.rules()?.clones.rule !== 'refuse' || !this.#watch.watches(principal))
      return false;
    const other = firstFromElsewhere(remote, sessions);
    if (other === undefined) return false;
    this.#reported(this.#watch.usedTwice(principal, remote, other.remote));
    return true;
  }

  /** The session that goes before a suspected identity gets another one from `remote`, when the rule is `take-over`. */
  inTheWay<T extends Held>(remote: string, sessions: Iterable<T>): T | undefined {
    if (this.#options.rules()?.clones.rule !== 'take-over') return undefined;
    return firstFromElsewhere(remote, sessions);
  }

  sweep(): void {
    this.#watch.sweep();
    this.#brake.sweep();
  }

  #reported(suspicion: Suspicion | undefined): boolean {
    const rule = this.#options.rules()?.clones.rule;
    if (suspicion?.isNews === true && rule !== undefined) this.#options.onClone(suspicion, rule);
    return suspicion !== undefined;
  }
}

const unlimited: ConnectLimits = Object.freeze({
  perMinute: Number.MAX_SAFE_INTEGER,
  servicePerMinute: Number.MAX_SAFE_INTEGER,
  longestMs: 0,
});

/** Addresses that are not known are nobody's. */
function firstFromElsewhere<T extends Held>(remote: string, sessions: Iterable<T>): T | undefined {
  if (remote === '') return undefined;
  const source = sourceOf(remote);
  for (const session of sessions) {
    if (session.remote !== '' && sourceOf(session.remote) !== source) return session;
  }
  return undefined;
}
