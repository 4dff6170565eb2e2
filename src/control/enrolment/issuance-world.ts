/** What the checks on the way to a certificate look at besides the request, and look at again after the signature. */
import type { Clock } from '../../common/base/clock.ts';
import type { KeyKind } from '../../common/base/key-kinds.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { CertificateAuthority } from '../ca/authority.ts';
import type { Registry } from '../registry/registry.ts';

/** When a certificate may be renewed by whoever holds its key. Times are milliseconds. */
export interface RenewalPolicy {
  /** Before it expires: from then on. */
  readonly windowMs: number;
  /** After it has expired: until then. 0 = not at all. */
  readonly graceMs: number;
  /** Certificates of one identity in 24 hours: a device that renews in a loop must not fill the registry. */
  readonly perDay: number;
}

/** What a manufacturer's certificate is good for. */
export interface Manufactured {
  readonly name: PrincipalName;
  /** Whether it also brings back a device that exists already. */
  readonly again: boolean;
}

export interface IssuanceWorld {
  readonly authority: Pick<CertificateAuthority, 'anchor'>;
  readonly registry: Registry;
  readonly trustDomain: string;
  readonly clock: Clock;
  readonly renewal: () => RenewalPolicy;
  /** Kinds of keys that are certified; the usual ones when left out. */
  readonly keys?: (() => readonly KeyKind[]) | undefined;
  /**
   * The device that a manufacturer's certificate (DER) names under an anchor that is configured now; undefined when it
   * names none.
   */
  readonly manufactured?: ((certificate: Buffer) => Manufactured | undefined) | undefined;
}
