/**
 * The session of a connecting client, claimed when the first row of the policy needs it: rates come with the claim, and
 * a claim ends the session's previous connection, so nothing that is refused before may get this far.
 */
import { SallyportError } from '../../../common/base/errors.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { ConnectedSubject } from '../identified.ts';
import type { MqttPeer } from './peer.ts';
import type { SessionClaim } from './ports.ts';
import type { Session } from './session.ts';

export class SessionClaiming {
  readonly #connection: MqttPeer<Session>;
  readonly #subject: ConnectedSubject;
  readonly #clientId: string;
  #claim: Promise<SessionClaim | undefined> | undefined;
  #failure: SallyportError | undefined;

  constructor(connection: MqttPeer<Session>, subject: ConnectedSubject, clientId: string) {
    this.#connection = connection;
    this.#subject = subject;
    this.#clientId = clientId;
    subject.rates = {
      take: async (buckets, cost) => (await this.claim())?.rates.take(buckets, cost) ?? false,
    };
  }

  /** Why there is no session, once a claim has failed. */
  get failure(): SallyportError | undefined {
    return this.#failure;
  }

  claim(): Promise<SessionClaim | undefined> {
    this.#claim ??= this.#start();
    return this.#claim;
  }

  giveUp(): void {
    this.#claim?.then(
      (claim) => claim?.release(),
      () => {},
    );
  }

  async #start(): Promise<SessionClaim | undefined> {
    const { ports } = this.#connection;
    try {
      const onTakenOver = endingTakenOver(this.#connection);
      const { remoteAddress } = this.#connection.transport;
      const claim = await ports.claim(
        this.#subject.name,
        this.#clientId,
        onTakenOver,
        remoteAddress,
      );
      this.#subject.rates = claim.rates;
      return claim;
    } catch (error) {
      if (error instanceof SallyportError) {
        this.#failure = error;
      } else {
        // The client is told that we are busy; that there is a defect must not be lost with it.
        ports.count('internal_errors');
        const err = error instanceof Error ? error.stack : String(error);
        ports.logger.error({ principal: this.#subject.name, err }, 'session not claimed: a defect');
        this.#failure = new SallyportError('internal', 'session not claimed', { cause: error });
      }
      return undefined;
    }
  }
}

/** Lives as long as the session, and therefore holds the connection and nothing else of its claiming. */
function endingTakenOver(connection: MqttPeer<Session>): () => Promise<void> | undefined {
  return () => {
    connection.ports.count('mqtt_takeovers');
    connection.run(() =>
      connection.disconnect(ReasonCode.sessionTakenOver, 'the session was taken over'),
    );
    // Also of one that had ended before: its state may still be on its way to the store.
    return connection.session?.gone;
  };
}
