/**
 * What the MQTT listener needs from outside its folder; the worker's composition root fits it.
 */
import type { Clock } from '../../../common/base/clock.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { Broker } from '../../broker/broker.ts';
import type { RetainedStore } from '../../broker/retained.ts';
import type { IdentityRecord, RateBudget } from '../../policy/ports.ts';
import type { Policy } from '../../policy/policy.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';

export interface MqttPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly broker: Broker;
  readonly retained: RetainedStore;
  /** Today's policy and limits; they change with the snapshot. */
  readonly policy: () => Policy;
  readonly limits: () => LimitsDocument;
  /** False while nobody new may be let in: no snapshot, or one that is too old. */
  readonly fresh: () => boolean;
  /** May ask control to register an identity that is seen for the first time. */
  readonly identify: (connection: SecureConnection) => Promise<Identified>;
  /** The same from what this worker knows now, at once. */
  readonly identifyNow: (connection: SecureConnection) => Identified;
  /** @throws SallyportError `quota` or `busy`. */
  readonly claim: (
    principal: PrincipalName,
    clientId: string,
    onTakenOver: () => void,
  ) => Promise<SessionClaim>;
  /** Resolves when every worker knows what this one is interested in; bounded in time. */
  readonly interestSettled: () => Promise<void>;
  /** A will that is being published: the worker does not end before it is. */
  readonly willUnderWay: (published: Promise<void>) => void;
  readonly count: (name: string) => void;
}

export interface SessionClaim {
  /** Unique among the sessions of all workers. */
  readonly key: string;
  readonly rates: RateBudget;
  release(): void;
}

/** Who is at the other end, by an authentication that this worker verified itself. */
export type Identified =
  | {
      readonly ok: true;
      readonly name: PrincipalName;
      /** The snapshot's live record. */
      readonly identity: IdentityRecord;
      /** `<anchor>:<serial>` of the certificate. */
      readonly certificate: string;
      readonly certificateRevoked: boolean;
      readonly notAfterMs: number;
      /** For the log: `ssl_client_s_dn`. */
      readonly subject: string;
    }
  | { readonly ok: false; readonly detail: string; readonly subject: string };
