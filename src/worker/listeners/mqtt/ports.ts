/**
 * What the MQTT listener needs from outside its folder; the worker's composition root fits it.
 */
import type { Clock } from '../../../common/base/clock.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { Connect } from '../../../common/codec/mqtt/packets.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { Signatures } from '../../credentials/signatures.ts';
import type { Broker } from '../../broker/broker.ts';
import type { CommandMailbox } from '../../broker/commands.ts';
import type { RetainedStore } from '../../broker/retained.ts';
import type { SessionStore } from '../../broker/sessions.ts';
import type { RateBudget } from '../../policy/ports.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Intake } from '../../routes/intake.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import type { Identified } from '../identified.ts';

export interface MqttPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** For subscriptions; what is published goes through the intake. */
  readonly broker: Broker;
  readonly retained: RetainedStore;
  readonly mailbox: CommandMailbox;
  readonly sessions: Pick<SessionStore, 'open' | 'find' | 'newId' | 'enqueue'>;
  readonly intake: Pick<Intake, 'store' | 'publish'>;
  readonly signatures: Pick<Signatures, 'signedPublish'>;
  /** Today's policy and limits; they change with the snapshot. */
  readonly policy: () => Policy;
  readonly limits: () => LimitsDocument;
  /** False while nobody new may be let in: no snapshot, or one that is too old. */
  readonly fresh: () => boolean;
  /** May ask control to register an identity that is seen for the first time. */
  readonly identify: (
    connection: SecureConnection,
    shown: Pick<Connect, 'userName' | 'password'>,
  ) => Promise<Identified>;
  /** The same from what this worker knows now, at once. */
  readonly identifyNow: (connection: SecureConnection) => Identified;
  /**
   * @param onTakenOver a newer connection has the session; it is let in when the promise has resolved, or soon.
   * @throws SallyportError `quota` or `busy`.
   */
  readonly claim: (
    principal: PrincipalName,
    clientId: string,
    onTakenOver: () => Promise<void> | undefined,
    /** The client's address. */
    remote: string,
  ) => Promise<SessionClaim>;
  /** Resolves when every worker knows what this one is interested in; bounded in time. */
  readonly interestSettled: () => Promise<void>;
  /** Something that outlives its connection, a will for example: the worker does not end before it is done. */
  readonly underWay: (done: Promise<unknown>) => void;
  readonly count: (name: string) => void;
}

export interface SessionClaim {
  /** Unique among the sessions of all workers. */
  readonly key: string;
  /** Greater than that of any claim of the session before. */
  readonly epoch: number;
  readonly rates: RateBudget;
  release(): void;
}
