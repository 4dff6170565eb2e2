/**
 * One MQTT connection: bytes to packets, packets to their handlers one at a time and in order, time limits, and the
 * ways in which it ends. What the packets mean is in the `handle-*` files.
 */
import type { DenyCode } from '../../../common/base/errors.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { LogBudget } from '../../../common/base/log-budget.ts';
import { settledWithin } from '../../../common/base/settled-within.ts';
import { MqttDecoder } from '../../../common/codec/mqtt/decoder.ts';
import { encode } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Connect, Packet, ProtocolVersion } from '../../../common/codec/mqtt/packets.ts';
import { MqttProtocolError } from '../../../common/codec/mqtt/protocol-error.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { handleConnect } from './handle-connect.ts';
import { handlePublish } from './handle-publish.ts';
import { handlePublishResponse } from './handle-publish-response.ts';
import { handleSubscribe } from './handle-subscribe.ts';
import { handleUnsubscribe } from './handle-unsubscribe.ts';
import { Outbox } from './outbox.ts';
import type { Flusher } from './outbox.ts';
import type { MqttPeer } from './peer.ts';
import type { MqttPorts } from './ports.ts';
import type { Session } from './session.ts';
import type { ReceivedAliases } from './topic-aliases.ts';
import { asConnackCode, codeOfViolation, ReturnCode, wireReasons } from './wire.ts';

/** A peer that does not close after our DISCONNECT is cut off; standing changes allow one second in all. */
const closeLimitMs = 500;
/** For each packet that a peer has sent before it closed to be answered, besides how long one may be held back. */
const lastWordsMs = 10_000;
const peerClosed = 'the peer closed the connection';
/** Lines of log that one connection may cause per second. */
const linesPerSecond = 1;

/** What the listener does for its connections. */
export interface ConnectionOwner {
  readonly flusher: Flusher;
  /** The log's share of everything that peers can cause. */
  readonly logBudget: LogBudget;
  /** What a peer that has not authenticated can cause; a share of its own, so that strangers silence nobody. */
  readonly strangersLogBudget: LogBudget;
  ended(connection: MqttConnection): void;
}

export class MqttConnection implements MqttPeer<Session> {
  readonly ports: MqttPorts;
  readonly transport: SecureConnection;
  readonly outbox: Outbox;
  readonly #decoder: MqttDecoder;
  readonly #owner: ConnectionOwner;
  readonly #openedAt: number;
  /** There once it has been needed. */
  #logBudget: LogBudget | undefined;
  /** When a packet was handled last; of a peer that sends no more also when it was answered. Monotonic. */
  #heardAt: number;
  #phase: 'connecting' | 'live' | 'closed' = 'connecting';
  #busy = false;
  #leaving = false;
  /** The peer sends no more. */
  #heardAll = false;
  #keepAliveMs = 0;
  /** Packets other than PUBLISH since the last tick. */
  #controlPackets = 0;
  /** Bytes that the peer's side had taken at the last tick, and since which tick it has taken none of those that wait. */
  #takenBytes = 0;
  #pendingSince: number | undefined;
  #session: Session | undefined;
  subject = '';
  receivedAliases: ReceivedAliases | undefined;

  constructor(ports: MqttPorts, transport: SecureConnection, owner: ConnectionOwner) {
    const limits = ports.limits();
    this.ports = ports;
    this.transport = transport;
    this.outbox = new Outbox(transport, owner.flusher, limits, () => ports.clock.now());
    this.#decoder = new MqttDecoder('server', limits);
    this.#owner = owner;
    this.#openedAt = ports.clock.monotonic();
    this.#heardAt = this.#openedAt;
    transport.onData = (chunk) => this.#receive(chunk);
    transport.onDrain = () => this.outbox.pump();
    transport.onEnd = () => this.#peerEnded();
    transport.onClose = () => this.#ended(peerClosed);
  }

  isClosed(): boolean {
    return this.#phase === 'closed';
  }

  get session(): Session | undefined {
    return this.#session;
  }

  get version(): ProtocolVersion {
    return this.#decoder.version ?? 5;
  }

  get sendable(): Buffer | undefined {
    return this.#decoder.sendable;
  }

  send(packet: Packet): void {
    if (this.#phase === 'closed') return;
    if (this.#heardAll) this.#heardAt = this.ports.clock.monotonic();
    const bytes = encode(packet, this.version);
    // MQTT-3.1.2-24: what the client cannot take is not sent, and a client that cannot take an answer is no client.
    if (bytes.length > (this.#session?.maximumPacketSize ?? bytes.length)) {
      this.endFor('too-large', `${packet.type} exceeds the client's maximum packet size`);
    } else {
      this.outbox.send(bytes);
    }
  }

  goLive(session: Session, keepAliveSeconds: number): void {
    this.#phase = 'live';
    this.#session = session;
    this.transport.authenticated();
    // MQTT 5 §3.1.2.10: one and a half times the keep alive without a packet ends the connection.
    this.#keepAliveMs = keepAliveSeconds * 1_500;
  }

  refuse(code: DenyCode, detail: string, reason?: { v5: number; v4: number }): void {
    if (this.#phase === 'closed') return;
    this.#logRefusal(code, detail);
    const wire = wireReasons[code];
    this.#connack(this.version, reason?.v5 ?? wire.connack5, reason?.v4 ?? wire.connack4);
    this.#close(detail);
  }

  endFor(code: DenyCode, detail: string): void {
    if (this.#phase === 'closed') return;
    this.#logRefusal(code, detail);
    this.disconnect(wireReasons[code].disconnect5, detail);
  }

  disconnect(reasonCode: number, detail: string, limitMs: number = closeLimitMs): void {
    if (this.#phase === 'closed') return;
    if (this.#phase === 'live' && this.version === 5) {
      const packet = { type: 'disconnect', reasonCode, properties: noProperties } as const;
      this.outbox.send(encode(packet, 5));
    }
    this.#close(detail, limitMs);
  }

  /** The gateway goes: nothing more is read, and what was accepted is answered before the end, as far as time allows. */
  async shutDown(limitMs: number): Promise<void> {
    const answered = this.#session?.answered();
    if (answered !== undefined) {
      this.#leaving = true;
      if (!this.isClosed()) this.transport.pause();
      await settledWithin(answered, limitMs);
    }
    this.run(() =>
      this.disconnect(ReasonCode.serverShuttingDown, 'the server is shutting down', limitMs),
    );
  }

  run(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fault(error);
    }
  }

  log(fields: object, message: string): void {
    const { logger, clock } = this.ports;
    const own = (this.#logBudget ??= new LogBudget(linesPerSecond, clock));
    const shared =
      this.#session === undefined ? this.#owner.strangersLogBudget : this.#owner.logBudget;
    if (!own.take() || !shared.take()) return;
    logger.info({ ...fields, ...own.suppressed(), ...shared.suppressed() }, message);
  }

  /** Called about once a second. */
  tick(now: number): void {
    this.#controlPackets = 0;
    if (this.#phase === 'closed') return;
    if (this.#phase === 'connecting') {
      if (now - this.#openedAt <= this.ports.limits().connectMs) return;
      this.#logRefusal('malformed', 'no CONNECT in time');
      this.#close('no CONNECT in time');
      return;
    }
    if (this.#lingers(now)) {
      this.#close(peerClosed);
      return;
    }
    this.outbox.tick();
    if (this.#stalled(now)) {
      this.endFor('quota', 'what is sent is not read');
      return;
    }
    // While a packet waits for its answer nothing is read, so silence says nothing of the peer.
    const silentMs = now - this.#heardAt;
    if (this.#keepAliveMs > 0 && silentMs > this.#keepAliveMs && !this.#busy && !this.#leaving) {
      this.ports.count('mqtt_keep_alive_timeouts');
      this.disconnect(ReasonCode.keepAliveTimeout, 'keep alive timeout');
      return;
    }
    const session = this.#session;
    if (session !== undefined && this.ports.clock.now() > session.notAfterMs) {
      session.dropWill();
      const what = session.by ?? 'certificate';
      this.endFor('unauthenticated', `the ${what} expired`);
      return;
    }
    // A key may end before what it has signed does, and by itself: nothing is told of it.
    if (session?.by !== undefined && !this.ports.identifyNow(this.transport).ok) {
      session.dropWill();
      this.endFor('unauthenticated', `the key of its ${session.by} is over`);
    }
  }

  /** The peer sends no more, and nothing of what it has sent is done with any more. */
  #lingers(now: number): boolean {
    return this.#heardAll && now - this.#heardAt > this.ports.limits().ratePauseMs + lastWordsMs;
  }

  #stalled(now: number): boolean {
    const pending = this.transport.pendingBytes;
    const taken = this.outbox.writtenBytes - pending;
    const since = this.#pendingSince;
    // What waits may have been framed, and then grows by more than was written: less taken is nothing taken.
    if (pending === 0 || since === undefined || taken > this.#takenBytes) {
      this.#takenBytes = taken;
      this.#pendingSince = pending === 0 ? undefined : now;
      return false;
    }
    return now - since > this.ports.limits().stalledMs;
  }

  #receive(chunk: Buffer): void {
    if (this.#phase === 'closed') return;
    try {
      this.#decoder.push(chunk);
      this.#drain();
    } catch (error) {
      this.#fault(error);
    }
  }

  /** Handles packets until there is none, or one of them has to wait; reading stops meanwhile. */
  #drain(): void {
    let heard = false;
    while (!this.#busy && !this.#leaving && this.#phase !== 'closed') {
      if (this.outbox.full) {
        this.#await(this.outbox.taken());
        return;
      }
      const packet = this.#next();
      if (packet === undefined) return;
      // A packet and not a byte of one: what is dribbled in keeps nothing alive. Once for all that came together.
      if (!heard) this.#heardAt = this.ports.clock.monotonic();
      heard = true;
      const waiting = this.#handle(packet);
      if (waiting !== undefined) this.#await(waiting);
    }
  }

  #await(waiting: Promise<void>): void {
    this.#busy = true;
    if (!this.isClosed()) this.transport.pause();
    void waiting
      .catch((error: unknown) => this.#fault(error))
      .then(() =>
        this.run(() => {
          this.#busy = false;
          if (this.#phase === 'closed' || this.#leaving) return;
          this.transport.resume();
          this.#drain();
          if (this.#heardAll) this.#finish();
        }),
      );
  }

  #next(): Packet | undefined {
    try {
      return this.#decoder.next();
    } catch (error) {
      if (!(error instanceof MqttProtocolError)) throw error;
      this.#violation(error);
      return undefined;
    }
  }

  #violation(error: MqttProtocolError): void {
    const detail = error.statement === '' ? error.message : `${error.message} [${error.statement}]`;
    this.#logRefusal(codeOfViolation(error.reasonCode), detail);
    if (this.#phase === 'connecting') {
      // Before its version is known a peer is answered in the version that can say why.
      const v4 = connack4Of(error.reasonCode);
      this.#connack(error.version ?? 5, asConnackCode(error.reasonCode), v4);
      this.#close(detail);
      return;
    }
    this.disconnect(error.reasonCode, detail);
  }

  #handle(packet: Packet): Promise<void> | undefined {
    const session = this.#session;
    // The decoder lets nothing but CONNECT come first.
    if (session === undefined) return handleConnect(this, packet as Connect);
    switch (packet.type) {
      case 'publish':
        return handlePublish(this, session, packet);
      case 'puback':
      case 'pubrec':
      case 'pubrel':
      case 'pubcomp':
        // Part of an exchange that is open: bounded by the messages that go either way.
        if (!handlePublishResponse(this, session, packet)) this.floods(packet.type);
        return undefined;
      default:
        return this.floods(packet.type) ? undefined : this.#handleControl(session, packet);
    }
  }

  floods(kind: string): boolean {
    this.#controlPackets += 1;
    if (this.#controlPackets <= this.ports.limits().controlPacketsPerSecond) return false;
    this.endFor('rate', `too many packets of the kind ${kind}`);
    return true;
  }

  #handleControl(session: Session, packet: Packet): Promise<void> | undefined {
    switch (packet.type) {
      case 'subscribe':
        return handleSubscribe(this, session, packet);
      case 'unsubscribe':
        return handleUnsubscribe(this, session, packet);
      case 'pingreq':
        this.send({ type: 'pingresp' });
        // The worker that took a command, or a message, may have died before it could tell the others.
        session.poke();
        return undefined;
      case 'disconnect':
        if (session.disconnected(packet)) this.#close('the client disconnected');
        else
          this.disconnect(ReasonCode.protocolError, 'a session expiry that CONNECT had ruled out');
        return undefined;
      default:
        this.disconnect(ReasonCode.protocolError, `${packet.type} is out of place`);
        return undefined;
    }
  }

  #connack(version: ProtocolVersion, v5: number, v4: number): void {
    const reasonCode = version === 5 ? v5 : v4;
    const packet = {
      type: 'connack',
      sessionPresent: false,
      reasonCode,
      properties: noProperties,
    } as const;
    this.outbox.send(encode(packet, version));
  }

  /** Whatever went wrong in the code of one connection ends that connection and nothing else. */
  #fault(error: unknown): void {
    try {
      if (error instanceof SallyportError && error.code !== 'internal') {
        this.log({ err: error.message, code: error.code, ...this.#who() }, 'connection closed');
      } else {
        this.ports.count('internal_errors');
        const stack = error instanceof Error ? error.stack : String(error);
        const fields = { err: stack, ...this.#who() };
        this.ports.logger.error(fields, 'a connection was closed because of a defect');
      }
      this.disconnect(ReasonCode.unspecifiedError, 'internal error');
    } catch {
      this.transport.destroy();
    }
  }

  #logRefusal(code: DenyCode, detail: string): void {
    this.ports.count(`refused{code="${code}"}`);
    this.log({ code, detail, ...this.#who() }, 'refused');
  }

  #who(): object {
    return {
      ssl_client_s_dn: this.subject,
      principal: this.#session?.subject.name,
      remote: `${this.transport.remoteAddress}:${this.transport.remotePort}`,
    };
  }

  #close(detail: string, limitMs: number = closeLimitMs): void {
    if (this.#phase === 'closed') return;
    this.outbox.flush();
    this.transport.end(limitMs);
    this.#ended(detail);
  }

  /**
   * Not before all that the peer has sent is handled: its DISCONNECT may be behind a packet that waits. Once it sees our
   * end it can rely on it that what comes for its session waits for its next connection.
   */
  #peerEnded(): void {
    if (this.#heardAll) return;
    this.#heardAll = true;
    this.#heardAt = this.ports.clock.monotonic();
    // A CONNECT that nobody waits for takes no session from anybody.
    if (this.#phase === 'connecting' && this.#decoder.bufferedBytes === 0) this.#close(peerClosed);
    this.#finish();
  }

  #finish(): void {
    if (this.#busy || this.#leaving || this.#phase === 'closed') return;
    const answered = this.#session?.answered();
    if (answered === undefined) this.#close(peerClosed);
    else this.#await(answered);
  }

  #ended(detail: string): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    try {
      this.outbox.close();
    } finally {
      this.#session?.ended(detail);
      this.#owner.ended(this);
    }
  }
}

function connack4Of(reasonCode: number): number {
  switch (reasonCode) {
    case ReasonCode.unsupportedProtocolVersion:
      return ReturnCode.unacceptableProtocolVersion;
    case ReasonCode.clientIdentifierNotValid:
      return ReturnCode.identifierRejected;
    default:
      return ReturnCode.notAuthorized;
  }
}
