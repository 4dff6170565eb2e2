/**
 * One MQTT session and its connection: subscriptions, what the client is sent, the checks of what it publishes, and what
 * becomes of the session when the connection ends. One that is durable lives on in the store.
 */
import type { AuthenticationMethod } from '../../../common/config/proxied-route.ts';
import type { Disconnect } from '../../../common/codec/mqtt/packets.ts';
import { messageOf, SallyportError } from '../../../common/base/errors.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { Message } from '../../broker/message.ts';
import type { Subscriber, SubscriptionOptions } from '../../broker/ports.ts';
import type { OwnedSession, SessionWill } from '../../broker/sessions.ts';
import { filterOf } from '../../broker/shared-subscription.ts';
import type { Bound, MessageFacts } from '../../policy/entry.ts';
import type { Subject } from '../../policy/ports.ts';
import { Acceptances } from './acceptances.ts';
import { answering } from './answer-publish.ts';
import { BoundChecks } from './bound-checks.ts';
import { DurableDelivery } from './durable-delivery.ts';
import { IncomingExchanges } from './incoming-exchanges.ts';
import { OwnCommands } from './own-commands.ts';
import type { MqttPeer } from './peer.ts';
import type { SessionClaim } from './ports.ts';
import { releasePacket } from './release-packet.ts';
import { Replays } from './replays.ts';
import type { WantedRetained } from './replays.ts';
import { lowerQoS, Sender } from './sender.ts';
import { publishWill } from './will.ts';

export interface SessionFacts {
  readonly subject: Subject;
  readonly claim: SessionClaim;
  readonly clientId: string;
  readonly will: SessionWill | undefined;
  /** As it is stored; undefined: there is nothing of it that could outlive its connection. */
  readonly owned: OwnedSession | undefined;
  /** As granted; 0: the session ends with its connection. */
  readonly expirySeconds: number;
  /** MQTT 5 §3.1.2.11.4; undefined = any size. */
  readonly maximumPacketSize: number | undefined;
  readonly certificate: string;
  readonly notAfterMs: number;
  /** Left out: by the certificate of its connection. */
  readonly by?: AuthenticationMethod | undefined;
}

export class Session implements Subscriber {
  readonly key: string;
  readonly subject: Subject;
  readonly clientId: string;
  readonly certificate: string;
  readonly notAfterMs: number;
  readonly by: AuthenticationMethod | undefined;
  /** Topic filter, as the client wrote it → how its messages are wanted. */
  readonly subscriptions: Map<string, SubscriptionOptions>;
  /** Messages of QoS 2 that the client has not released. */
  readonly incoming = new IncomingExchanges();
  /** Messages refused for their rate since the last one that was accepted. */
  refusedInARow = 0;
  /** Bytes of the largest packet that the client takes. */
  readonly maximumPacketSize: number;
  /** Only while there is something to replay, or to be stored, has an idle session what it takes. */
  #replays: Replays | undefined;
  #acceptances: Acceptances | undefined;
  /** As they were when the client was told of its receive maximum. */
  readonly #limits: LimitsDocument;
  readonly #connection: MqttPeer;
  readonly #claim: SessionClaim;
  readonly #owned: OwnedSession | undefined;
  readonly #durable: DurableDelivery | undefined;
  /** What CONNECT asked for and was granted: 0 rules out that DISCONNECT asks for more. */
  readonly #grantedSeconds: number;
  #expirySeconds: number;
  #will: SessionWill | undefined;
  readonly #checks: BoundChecks;
  readonly #sender: Sender;
  /** Of a device. */
  readonly #commands: OwnCommands | undefined;
  #gone: Promise<void> | undefined;

  constructor(connection: MqttPeer, facts: SessionFacts) {
    const { subject, claim, owned, expirySeconds } = facts;
    const { ports } = connection;
    this.#connection = connection;
    this.key = claim.key;
    this.subject = subject;
    this.clientId = facts.clientId;
    this.certificate = facts.certificate;
    this.notAfterMs = facts.notAfterMs;
    this.by = facts.by;
    this.#claim = claim;
    this.maximumPacketSize = facts.maximumPacketSize ?? Number.POSITIVE_INFINITY;
    this.#owned = owned;
    this.#grantedSeconds = expirySeconds;
    this.#expirySeconds = expirySeconds;
    this.#will = facts.will;
    this.subscriptions = new Map(owned?.subscriptions);
    this.#checks = new BoundChecks(subject, ports.policy, this.subscriptions, facts.by);
    this.#sender = new Sender(connection, this.#checks, this.maximumPacketSize);
    this.#limits = ports.limits();
    // One that is stored for the sake of its will alone, or for this connection only, needs no queue.
    const durable = owned !== undefined && (owned.present || expirySeconds > 0);
    this.#durable = durable ? this.#newDelivery(owned) : undefined;
    if (durable) {
      this.incoming.inherit(owned.received);
      // What is in flight is stored whenever its phase changes.
      connection.outbox.limitInFlight(this.#limits.receiveMaximum);
      connection.outbox.onRoom = () => this.#hasRoom();
    }
    this.#commands = subject.kind === 'device' ? this.#newCommands(subject) : undefined;
  }

  /** MQTT 5 §3.2.2.1.1. */
  get present(): boolean {
    return this.#owned?.present ?? false;
  }

  /** Set when what the client is owed, and what it owes, is kept in the store. */
  get durable(): DurableDelivery | undefined {
    return this.#durable;
  }

  /** Its name in the store, when it is durable. */
  get storedAs(): OwnedSession['id'] | undefined {
    return this.#durable === undefined ? undefined : this.#owned?.id;
  }

  /** Everything accepted has been answered. A session that only sends QoS 0 never needs `acceptances`. */
  get nothingWaits(): boolean {
    return this.#acceptances?.idle ?? true;
  }

  /**
   * Resolves when nothing waits for the store any more, neither a message nor a step of an exchange, and all of it is
   * answered; undefined when nothing waits now.
   */
  answered(): Promise<void> | undefined {
    const next = this.nothingWaits ? this.#durable?.saving.underWay : this.acceptances.none();
    return next?.then(() => this.answered());
  }

  get acceptances(): Acceptances {
    this.#acceptances ??= new Acceptances(this.#limits, answering(this.#connection, this));
    return this.#acceptances;
  }

  get principal(): Subject['name'] {
    return this.subject.name;
  }

  /** The checks for publishing to this topic under today's policy. */
  boundPublish(topic: string): Bound<MessageFacts> {
    return this.#checks.publish(topic);
  }

  /** Whether today's policy would grant this subscription, to who has proven itself as this session's client has. */
  mayHold(filter: string): boolean {
    const policy = this.#connection.ports.policy();
    const judged = filterOf(filter);
    return (
      policy.takes(this.by ?? 'certificate', judged) &&
      policy.permits('subscribe', this.subject, judged)
    );
  }

  /** MQTT-3.3.4-9: as many messages of QoS 1 and 2 are under way as the client was told that may be. */
  get atReceiveMaximum(): boolean {
    const underWay = (this.#acceptances?.unacknowledged ?? 0) + this.incoming.begun;
    return underWay >= this.#limits.receiveMaximum;
  }

  /** Resolves when these subscriptions survive whatever dies; they are in force, and in `subscriptions`, already. */
  async storeSubscriptions(granted: ReadonlyMap<string, SubscriptionOptions>): Promise<void> {
    if (this.#durable === undefined) return;
    await this.#owned?.subscribe(granted);
    // What was queued before every worker knew that it is to be sent here.
    this.#durable.poke();
  }

  /** Ends subscriptions. Resolves when that is stored, if it has to be. */
  async dropSubscriptions(filters: readonly string[]): Promise<void> {
    const { broker } = this.#connection.ports;
    for (const filter of filters) {
      this.subscriptions.delete(filter);
      broker.unsubscribe(this, filter);
    }
    if (this.#durable !== undefined) await this.#owned?.unsubscribe(filters);
  }

  /** After CONNACK: the session goes on where it was. Resolves when its subscriptions are in force on every worker. */
  async resume(): Promise<void> {
    // What was withdrawn before had to be stored, and the client may have gone meanwhile.
    if (this.#durable === undefined || this.#connection.isClosed()) return;
    const { broker, interestSettled } = this.#connection.ports;
    for (const [filter, options] of this.subscriptions) broker.subscribe(this, filter, options);
    if (this.subscriptions.size > 0) await interestSettled();
    if (this.#connection.isClosed()) return;
    for (const filter of this.subscriptions.keys()) this.subscribed(filter);
    this.#durable.poke();
  }

  /** Sends what is retained under these filters, in the background. */
  replay(wanted: readonly WantedRetained[]): void {
    this.#replays ??= this.#newReplays();
    this.#replays.add(wanted);
  }

  #newReplays(): Replays {
    const connection = this.#connection;
    return new Replays({
      match: (filter) => connection.ports.retained.match(filter),
      room: async () => {
        await connection.outbox.room();
        await this.#durable?.room();
      },
      wants: ({ filter, options }) =>
        !connection.isClosed() && this.subscriptions.get(filter) === options,
      // A command that was retained is in the mailbox too, until the device has acknowledged it.
      deliver: (message, options) => {
        if (this.#commands?.includes(message.topic) !== true) this.#give(message, options, true);
      },
      failed: (err) =>
        connection.log({ principal: this.principal, err }, 'retained messages not sent'),
      done: () => {
        this.#replays = undefined;
      },
    });
  }

  deliver(message: Message, options: SubscriptionOptions): void {
    if (this.#commands?.includes(message.topic) === true) {
      this.#commands.poke();
      return;
    }
    const given = this.#give(message, options, options.retainAsPublished && message.retain);
    if (given && message.retain) this.#replays?.replacedLive(message.topic);
  }

  /** After a SUBACK: a device that may now get commands is given what waits for it. */
  subscribed(filter: string): void {
    this.#commands?.subscribed(filter);
  }

  /** Something may wait for the client that its worker was not told of. */
  poke(): void {
    this.#commands?.poke();
    this.#durable?.poke();
  }

  #newCommands({ id, name }: Subject): OwnCommands {
    return new OwnCommands({
      device: id,
      principal: name,
      connection: this.#connection,
      subscriptions: this.subscriptions,
      sender: this.#sender,
      durable: this.#durable,
    });
  }

  #hasRoom(): void {
    this.#durable?.onRoom();
    this.#commands?.onRoom();
  }

  #newDelivery(owned: OwnedSession): DurableDelivery {
    const connection = this.#connection;
    const { ports, outbox } = connection;
    return new DurableDelivery({
      owned,
      outbox,
      isClosed: () => connection.isClosed(),
      enqueue: ({ message, qos, retain, identifiers }) => {
        const { key, principal } = this;
        const target = { session: owned.id, key, principal, qos, retain, identifiers };
        return ports.sessions.enqueue(ports.sessions.newId(), message, [target], undefined);
      },
      encode: ({ message, qos, retain, identifiers }, again) =>
        !again && this.#sender.isExpired(message)
          ? undefined
          : this.#sender.encode(message, qos, retain, identifiers, undefined),
      sent: () => ports.count('mqtt_messages_out'),
      release: (packetId) => connection.send(releasePacket(packetId, ReasonCode.success)),
      failed: (error) => {
        if (connection.isClosed()) return;
        connection.run(() => {
          throw error;
        });
      },
    });
  }

  /**
   * @param retain the flag as the client is to see it: MQTT 5 §3.3.1.3.
   * @returns whether the client gets it, now or later.
   */
  #give(message: Message, options: SubscriptionOptions, retain: boolean): boolean {
    const qos = lowerQoS(message, options);
    if (qos === 0 || this.#durable === undefined) {
      return this.#sender.send(message, qos, retain, options);
    }
    const { identifiers } = options;
    const id = message.delivery?.id;
    if (id !== undefined && this.#isQueued(message, id)) {
      this.#durable.deliver({ id, message, qos, retain, identifiers });
    } else {
      this.#durable.add({ message, qos, retain, identifiers });
    }
    return true;
  }

  /** One that was picked for a shared subscription in place of another one has not got the message in its queue. */
  #isQueued({ delivery }: Message, id: string): boolean {
    const instead = delivery?.picks.some(({ to, queued }) => to === this.key && !queued) ?? false;
    return !instead || this.#owned?.has(id) === true;
  }

  /**
   * MQTT 5 §3.14.4: a normal DISCONNECT takes the will with it, and may say anew how long the session is kept.
   *
   * @returns false when it asks for a session expiry that CONNECT had ruled out: a protocol error (§3.14.2.2.2).
   */
  disconnected(packet: Disconnect): boolean {
    const { sessionExpiryInterval: asked } = packet.properties;
    if (asked !== undefined) {
      if (asked > 0 && this.#grantedSeconds === 0) return false;
      const most = Math.floor(this.#connection.ports.limits().sessionExpiryMs / 1_000);
      this.#expirySeconds = Math.min(asked, most);
    }
    if (packet.reasonCode === ReasonCode.normalDisconnection) this.#will = undefined;
    return true;
  }

  /** The will dies with the trust in whoever set it. */
  dropWill(): void {
    this.#will = undefined;
  }

  /** Nothing of the session is to stay when the connection ends; its will is judged like any other. */
  discard(): void {
    this.#expirySeconds = 0;
  }

  /** Resolves when the session is in nobody's hands: after `ended`, its state is stored, its will published. */
  get gone(): Promise<void> | undefined {
    return this.#gone;
  }

  /** CONNECT was refused after all: what is stored goes back as it was, without a word of this connection. */
  abandon(): void {
    this.#will = undefined;
    this.#gone = this.#leave();
    this.#connection.ports.underWay(this.#gone);
  }

  ended(detail: string): void {
    const { ports } = this.#connection;
    ports.broker.removeSubscriber(this);
    this.#durable?.close();
    ports.logger.info(
      { principal: this.principal, client_id: this.clientId, detail },
      'session ended',
    );
    // Whoever takes the session over, and the will, come after what was accepted before.
    const accepted = this.nothingWaits ? undefined : this.acceptances.none();
    this.#gone = accepted === undefined ? this.#leave() : accepted.then(() => this.#leave());
    ports.underWay(this.#gone);
  }

  /** Where its proof opens nothing any more nothing is published, now or later. */
  #willOfToday(): SessionWill | undefined {
    const { ports } = this.#connection;
    const will = this.#will;
    if (will === undefined || this.by === undefined) return will;
    const { topic } = will.message;
    if (ports.policy().takes(this.by, topic)) return will;
    const code = 'unauthenticated';
    ports.count(`refused{code="${code}"}`);
    const { principal } = this;
    const detail = `no route takes ${this.by} for it any more`;
    ports.logger.info({ code, principal, action: 'will', resource: topic, detail }, 'refused');
    return undefined;
  }

  /** Never rejects. */
  async #leave(): Promise<void> {
    const { ports, outbox } = this.#connection;
    const ends = this.#expirySeconds === 0;
    const will = this.#willOfToday();
    this.#will = undefined;
    const due = will !== undefined && (ends || will.delaySeconds === 0);
    try {
      // First: a worker that is killed in between publishes it twice and not never.
      if (due) await publishWill(ports, this.subject, will.message);
      if (ends) await this.#owned?.end();
      else {
        await this.#owned?.leave({
          inFlight: outbox.exchanges.stored(),
          expirySeconds: this.#expirySeconds,
          will: due ? undefined : will,
        });
      }
    } catch (error) {
      // Somebody has it already: nothing is lost.
      if (!(error instanceof SallyportError) || error.code !== 'busy') {
        const { principal, clientId } = this;
        const fields = { principal, client_id: clientId, err: messageOf(error) };
        ports.logger.warn(fields, 'the state of a session was not stored');
      }
    }
    this.#claim.release();
  }
}
