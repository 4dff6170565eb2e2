/**
 * One MQTT connection: bytes to packets, packets to their handlers one at a time and in order, time limits, and the
 * ways in which it ends. What the packets mean is in the `handle-*` files.
 */
import type { DenyCode } from '../../../common/base/errors.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { MqttDecoder } from '../../../common/codec/mqtt/decoder.ts';
import { encode } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Connect, Packet, ProtocolVersion } from '../../../common/codec/mqtt/packets.ts';
import { MqttProtocolError } from '../../../common/codec/mqtt/protocol-error.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { handleConnect } from './handle-connect.ts';
import { handlePublish } from './handle-publish.ts';
import { handleSubscribe } from './handle-subscribe.ts';
import { handleUnsubscribe } from './handle-unsubscribe.ts';
import { Outbox } from './outbox.ts';
import type { Flusher } from './outbox.ts';
import type { MqttPeer } from './peer.ts';
import type { MqttPorts } from './ports.ts';
import type { Session } from './session.ts';
import { asConnackCode, codeOfViolation, ReturnCode, wireReasons } from './wire.ts';

/** A peer that does not close after our DISCONNECT is cut off; standing changes allow one second in all. */
const closeLimitMs = 500;

export class MqttConnection implements MqttPeer<Session> {
  readonly ports: MqttPorts;
  readonly transport: SecureConnection;
  readonly outbox: Outbox;
  readonly #decoder: MqttDecoder;
  readonly #onEnd: (connection: MqttConnection) => void;
  readonly #openedAt: number;
  #heardAt: number;
  #phase: 'connecting' | 'live' | 'closed' = 'connecting';
  #busy = false;
  #keepAliveMs = 0;
  #session: Session | undefined;
  subject = '';

  constructor(
    ports: MqttPorts,
    transport: SecureConnection,
    flusher: Flusher,
    onEnd: (connection: MqttConnection) => void,
  ) {
    const limits = ports.limits();
    this.ports = ports;
    this.transport = transport;
    this.outbox = new Outbox(transport, flusher, limits);
    this.#decoder = new MqttDecoder('server', limits);
    this.#onEnd = onEnd;
    this.#openedAt = ports.clock.monotonic();
    this.#heardAt = this.#openedAt;
    transport.onData = (chunk) => this.#receive(chunk);
    transport.onDrain = () => this.outbox.pump();
    transport.onClose = () => this.#ended('the peer closed the connection');
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

  send(packet: Packet): void {
    if (this.#phase !== 'closed') this.outbox.send(encode(packet, this.version));
  }

  goLive(session: Session, keepAliveSeconds: number): void {
    this.#phase = 'live';
    this.#session = session;
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
    this.#logRefusal(code, detail);
    this.disconnect(wireReasons[code].disconnect5, detail);
  }

  disconnect(reasonCode: number, detail: string): void {
    if (this.#phase === 'closed') return;
    if (this.#phase === 'live' && this.version === 5) {
      this.send({ type: 'disconnect', reasonCode, properties: noProperties });
    }
    this.#close(detail);
  }

  /** Called about once a second. */
  tick(now: number): void {
    if (this.#phase === 'connecting') {
      if (now - this.#openedAt > this.ports.limits().connectMs) {
        this.#logRefusal('malformed', 'no CONNECT in time');
        this.#close('no CONNECT in time');
      }
      return;
    }
    if (this.#phase !== 'live') return;
    if (this.#keepAliveMs > 0 && now - this.#heardAt > this.#keepAliveMs && !this.#busy) {
      this.ports.count('mqtt_keep_alive_timeouts');
      this.disconnect(ReasonCode.keepAliveTimeout, 'keep alive timeout');
      return;
    }
    const session = this.#session;
    if (session !== undefined && this.ports.clock.now() > session.notAfterMs) {
      this.endFor('unauthenticated', 'the certificate expired');
    }
  }

  #receive(chunk: Buffer): void {
    if (this.#phase === 'closed') return;
    this.#heardAt = this.ports.clock.monotonic();
    this.#decode(() => this.#decoder.push(chunk));
    this.#drain();
  }

  /** Handles packets until there is none, or one of them has to wait; reading stops meanwhile. */
  #drain(): void {
    while (!this.#busy && this.#phase !== 'closed') {
      const packet = this.#decode(() => this.#decoder.next());
      if (packet === undefined) return;
      const waiting = this.#handle(packet);
      if (waiting !== undefined) this.#await(waiting);
    }
  }

  #await(waiting: Promise<void>): void {
    this.#busy = true;
    this.transport.pause();
    waiting
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#busy = false;
        if (this.#phase === 'closed') return;
        this.transport.resume();
        this.#drain();
      });
  }

  #decode<T>(step: () => T): T | undefined {
    try {
      return step();
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
      this.#connack(
        error.version ?? 5,
        asConnackCode(error.reasonCode),
        connack4Of(error.reasonCode),
      );
      this.#close(detail);
      return;
    }
    this.disconnect(error.reasonCode, detail);
  }

  #handle(packet: Packet): Promise<void> | undefined {
    const session = this.#session;
    if (session === undefined) {
      // The decoder lets nothing but CONNECT come first.
      return handleConnect(this, packet as Connect);
    }
    switch (packet.type) {
      case 'publish':
        return handlePublish(this, session, packet);
      case 'puback':
        this.outbox.acknowledged(packet.packetId);
        return undefined;
      case 'subscribe':
        return handleSubscribe(this, session, packet);
      case 'unsubscribe':
        handleUnsubscribe(this, session, packet);
        return undefined;
      case 'pingreq':
        this.send({ type: 'pingresp' });
        return undefined;
      case 'disconnect':
        session.disconnected(packet);
        this.#close('the client disconnected');
        return undefined;
      case 'pubrel':
        // No QoS 2 exchange is ever open here: MQTT 5 §3.7.2.1.
        this.send({
          type: 'pubcomp',
          packetId: packet.packetId,
          reasonCode: ReasonCode.packetIdentifierNotFound,
          properties: noProperties,
        });
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

  #failed(error: unknown): void {
    if (error instanceof SallyportError && error.code !== 'internal') {
      this.ports.logger.warn(
        { err: error.message, code: error.code, ...this.#who() },
        'connection closed',
      );
    } else {
      this.ports.count('internal_errors');
      const stack = error instanceof Error ? error.stack : String(error);
      this.ports.logger.error(
        { err: stack, ...this.#who() },
        'a connection was closed because of a defect',
      );
    }
    this.disconnect(ReasonCode.unspecifiedError, 'internal error');
  }

  #logRefusal(code: DenyCode, detail: string): void {
    this.ports.count(`refused{code="${code}"}`);
    this.ports.logger.info({ code, detail, ...this.#who() }, 'refused');
  }

  #who(): object {
    return {
      ssl_client_s_dn: this.subject,
      principal: this.#session?.subject.name,
      remote: `${this.transport.remoteAddress}:${this.transport.remotePort}`,
    };
  }

  #close(detail: string): void {
    if (this.#phase === 'closed') return;
    this.outbox.flush();
    this.transport.end(closeLimitMs);
    this.#ended(detail);
  }

  #ended(detail: string): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.outbox.close();
    this.#session?.ended(detail);
    this.#onEnd(this);
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
