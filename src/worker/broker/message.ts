/**
 * The canonical message: what every protocol's publish becomes, what subscribers and routes get.
 */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { MessageProperties, QoS } from '../../common/codec/mqtt/packets.ts';

export interface Message {
  readonly topic: string;
  /** Owned by the message: never a slice of a read buffer that goes on to be used. */
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly properties: MessageProperties;
  readonly publisher: PrincipalName;
  /** Session of the publisher, for no-local; empty when there is none. */
  readonly publisherSession: string;
  /** Milliseconds, wall clock; undefined = never. */
  readonly expiresAt: number | undefined;
}
