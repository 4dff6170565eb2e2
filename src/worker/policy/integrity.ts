/** What the integrity row needs to know of a signature, whatever protocol has carried it. */
import type { IntegrityDocument } from '../../common/config/proxied-route.ts';

export type IntegrityVerdict =
  | { readonly ok: true }
  | {
      readonly ok: false;
      readonly detail: string;
      /**
       * Left out: `integrity`. `rate`: more is signed than can be remembered for its principal. `unavailable`: the fault is
       * the gateway's own.
       */
      readonly code?: 'rate' | 'unavailable';
    };

/** One message or request and the signature that came with it. */
export interface Signed {
  /**
   * Verifies the signature, its time and that its nonce is new, once: a second call gives the first verdict. Fails closed
   * and never rejects. A promise where the nonce has to be stored first.
   */
  verify(rules: IntegrityDocument): IntegrityVerdict | Promise<IntegrityVerdict>;
}
