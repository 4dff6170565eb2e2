/** What the packet handlers see of their connection. */
import type { DenyCode } from '../../../common/base/errors.ts';
import type { Packet, ProtocolVersion } from '../../../common/codec/mqtt/packets.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import type { Outbox } from './outbox.ts';
import type { MqttPorts } from './ports.ts';
import type { ReceivedAliases } from './topic-aliases.ts';

/** `S` is the session; a parameter so that the session itself can be written against this interface. */
export interface MqttPeer<S = unknown> {
  readonly ports: MqttPorts;
  readonly transport: SecureConnection;
  readonly outbox: Outbox;
  /** There once CONNECT was accepted. */
  readonly session: S | undefined;
  isClosed(): boolean;
  readonly version: ProtocolVersion;
  /** While a packet is being handled: its bytes, when they can be sent on as they are (`MqttDecoder.sendable`). */
  readonly sendable: Buffer | undefined;
  /** For the log: `ssl_client_s_dn`. */
  subject: string;
  /** Set when CONNACK offers topic aliases. */
  receivedAliases: ReceivedAliases | undefined;
  send(packet: Packet): void;
  /** CONNECT was accepted: from here on the session decides. */
  goLive(session: S, keepAliveSeconds: number): void;
  /** Ends what has not been accepted, with the reason on the wire where MQTT has a word for it. */
  refuse(code: DenyCode, detail: string, reason?: { v5: number; v4: number }): void;
  /**
   * Counts a packet that is no PUBLISH and answers none of ours.
   *
   * @returns true when it was one too many: the connection has been ended.
   */
  floods(kind: string): boolean;
  /** Ends a live connection for one of the policy's codes. */
  endFor(code: DenyCode, detail: string): void;
  /** Does a step that belongs to this connection alone: a fault in it is this connection's end. */
  run(step: () => void): void;
  /** A line about this connection, as far as its share of the log goes. */
  log(fields: object, message: string): void;
  /** Ends a live connection; 3.1.1 has no DISCONNECT from the server and just closes. */
  disconnect(reasonCode: number, detail: string, limitMs?: number): void;
}
