/** By what right a certificate is asked for. Whoever makes a claim has authenticated who makes it. */
import type { PrincipalKind, PrincipalName } from '../../common/base/principal.ts';

/** Something that is good for so many certificates: an invitation, a token, an approval. Both methods are synchronous. */
export interface Grant {
  /** Whether it could be used now. Asked before the signature and again right before `use`. */
  holds(): boolean;
  /**
   * Uses it up, once. Called within the registry's transaction: it writes to the same database, begins no transaction of
   * its own, and is undone when the certificate cannot be registered. @returns false when it is gone: nothing is issued.
   */
  use(): boolean;
}

interface Named {
  readonly name: PrincipalName;
  readonly role: string;
}

export type Claim =
  /** An operator asks, over the admin API. */
  | (Named & { readonly right: 'operator' })
  /** A laboratory's identity, whose key the gateway makes. */
  | (Named & { readonly right: 'lab' })
  /** The one-time enrolment of an operator. */
  | (Named & { readonly right: 'invitation'; readonly grant: Grant })
  /** An enrolment token. `named`: it is for this device; otherwise for any that does not exist yet. */
  | (Named & { readonly right: 'token'; readonly named: boolean; readonly grant: Grant })
  /** An operator has looked at the request and approved this key for this device. It reaches no further than its claim. */
  | (Named & {
      readonly right: 'approval';
      readonly of: Claim & { readonly right: 'token' | 'manufacturer' };
      /** SHA-256 of the SubjectPublicKeyInfo that was approved, hex. */
      readonly spkiSha256: string;
      readonly grant: Grant;
    })
  /** The manufacturer's certificate (DER) of a device, possession of whose key has been proven. */
  | (Named & { readonly right: 'manufacturer'; readonly certificate: Buffer })
  /** A certificate of the same identity (DER), possession of whose key has been proven; the role stays. */
  | {
      readonly right: 'renewal';
      readonly name: PrincipalName;
      readonly certificate: Buffer;
    };

export type Right = Claim['right'];

interface RightRule {
  /** Whose certificates it can get. */
  readonly kinds: readonly PrincipalKind[];
}

/**
 * What each right reaches. Operators renew by invitation only: a worker reports the proof of a renewal, and one that has
 * been taken over must not become an operator.
 */
export const rights: Readonly<Record<Right, RightRule>> = Object.freeze({
  operator: { kinds: ['device', 'service', 'operator'] },
  lab: { kinds: ['device', 'service', 'operator'] },
  invitation: { kinds: ['operator'] },
  token: { kinds: ['device'] },
  approval: { kinds: ['device'] },
  manufacturer: { kinds: ['device'] },
  renewal: { kinds: ['device', 'service'] },
});
