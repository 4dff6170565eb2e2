/**
 * What the HTTPS listener needs from outside its folder; the worker's composition root fits it.
 */
import type { Clock } from '../../../common/base/clock.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { Signatures } from '../../credentials/signatures.ts';
import type { Tokens } from '../../credentials/tokens/tokens.ts';
import type { Broker } from '../../broker/broker.ts';
import type { CommandMailbox } from '../../broker/commands.ts';
import type { Policy } from '../../policy/policy.ts';
import type { RateBudget } from '../../policy/ports.ts';
import type { Intake } from '../../routes/intake.ts';
import type { UpstreamPort } from '../../routes/upstream/ports.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import type { Identified } from '../identified.ts';
import type { OAuthPorts } from './oauth/ports.ts';
import type { Assertions } from './proxied/assertions.ts';

export interface HttpsPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** For the commands that a poll or a stream waits for. */
  readonly broker: Pick<Broker, 'subscribe' | 'removeSubscriber'>;
  readonly mailbox: CommandMailbox;
  readonly intake: Pick<Intake, 'store' | 'publish'>;
  readonly signatures: Pick<Signatures, 'signedRequest'>;
  /** Where the requests of proxied routes go, and what is signed for those that want it. */
  readonly upstreams: UpstreamPort;
  readonly assertions: Pick<Assertions, 'isWanted' | 'sign' | 'keySet'>;
  /** The token endpoint. */
  readonly oauth: OAuthPorts;
  readonly tokens: Pick<Tokens, 'authenticate'>;
  /** Today's policy and limits; they change with the snapshot. */
  readonly policy: () => Policy;
  readonly limits: () => LimitsDocument;
  /** False while nobody new may be let in: no snapshot, or one that is too old. */
  readonly fresh: () => boolean;
  /** May ask control to register an identity that is seen for the first time. */
  readonly identify: (connection: SecureConnection) => Promise<Identified>;
  /** The same from what this worker knows now, at once. */
  readonly identifyNow: (connection: SecureConnection) => Identified;
  /** With a client id of `presenceId`: not counted as a session. @throws SallyportError `busy`. */
  readonly claim: (
    principal: PrincipalName,
    clientId: string,
    onTakenOver: () => undefined,
    /** The client's address. */
    remote: string,
  ) => Promise<PresenceClaim>;
  /** Resolves when every worker knows what this one is interested in; bounded in time. */
  readonly interestSettled: () => Promise<void>;
  /** A connection that speaks MQTT from here on. */
  readonly acceptMqtt: (connection: SecureConnection) => void;
  readonly count: (name: string) => void;
}

export interface PresenceClaim {
  readonly rates: RateBudget;
  release(): void;
}
