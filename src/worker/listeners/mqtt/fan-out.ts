/**
 * A message is encoded once per (version, QoS, retain) however many subscribers it has; each gets a copy with its own
 * packet identifier patched in.
 */
import { encodePublish } from '../../../common/codec/mqtt/encoder.ts';
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import type {
  ProtocolVersion,
  PublishProperties,
  QoS,
} from '../../../common/codec/mqtt/packets.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';

let lastMessage: Message | undefined;
const lastEncoded: (EncodedPublish | undefined)[] = [];

/** @param nowMs wall clock, for the message expiry interval that is left (MQTT 5 §3.3.2.3.3). */
export function encodedFor(
  message: Message,
  version: ProtocolVersion,
  qos: QoS,
  retain: boolean,
  nowMs: number,
): EncodedPublish {
  if (lastMessage !== message) {
    lastMessage = message;
    lastEncoded.fill(undefined);
  }
  const at = (version === 5 ? 8 : 0) + qos * 2 + (retain ? 1 : 0);
  const known = lastEncoded[at];
  if (known !== undefined) return known;
  const encoded = encodePublish(
    {
      topic: message.topic,
      payload: message.payload,
      qos,
      retain,
      dup: false,
      properties: version === 5 ? propertiesNow(message, nowMs) : noProperties,
    },
    version,
  );
  lastEncoded[at] = encoded;
  return encoded;
}

function propertiesNow(message: Message, nowMs: number): PublishProperties {
  if (message.expiresAt === undefined) return message.properties;
  // Never more than the publisher said, whatever was done to the clock.
  const most = message.properties.messageExpiryInterval ?? 0;
  const left = Math.ceil((message.expiresAt - nowMs) / 1_000);
  const seconds = Math.min(most, Math.max(0, left));
  return { ...message.properties, messageExpiryInterval: seconds };
}
