/** Who is at the other end of a connection, for the listeners of every protocol. */
import { principalParts } from '../../common/base/principal.ts';
import type { AuthenticationMethod } from '../../common/config/proxied-route.ts';
import type { PrincipalKind, PrincipalName, Standing } from '../../common/base/principal.ts';
import type { IdentityRecord, RateBudget, Subject } from '../policy/ports.ts';

/** By an authentication that this worker verified itself. */
export type Identified =
  | {
      readonly ok: true;
      readonly name: PrincipalName;
      /** The snapshot's live record. */
      readonly identity: IdentityRecord;
      /** How it has proven that; left out: by the certificate of its connection. */
      readonly by?: AuthenticationMethod | undefined;
      /** `<anchor>:<serial>` of the certificate; of who has shown none, the anchor and the colon. */
      readonly certificate: string;
      readonly certificateRevoked: boolean;
      readonly notAfterMs: number;
      /** For the log: `ssl_client_s_dn`. */
      readonly subject: string;
    }
  | { readonly ok: false; readonly detail: string; readonly subject: string };

/** Over HTTPS. The others are refused before anything is spent on them; what each request may do is the policy's to say. */
export function mayCome(standing: Standing): boolean {
  return standing === 'active' || standing === 'quarantined' || standing === 'firmware-floor';
}

/** One connection's subject of the policy. */
export class ConnectedSubject implements Subject {
  readonly name: PrincipalName;
  readonly kind: PrincipalKind;
  readonly id: string;
  readonly identity: IdentityRecord;
  /** Until the identity's budget is claimed nothing may be taken. */
  rates: RateBudget = { take: () => false };

  constructor(name: PrincipalName, identity: IdentityRecord) {
    const { kind, id } = principalParts(name);
    this.name = name;
    this.kind = kind;
    this.id = id;
    this.identity = identity;
  }
}
