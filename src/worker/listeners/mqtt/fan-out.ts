/**
 * A message is encoded once per (version, QoS, retain) however many subscribers it has; each gets a copy with its own
 * packet identifier patched in. Subscription identifiers are spliced into that encoding, once for all who have the same.
 */
import { emptyBuffer } from '../../../common/codec/mqtt/cursor.ts';
import { encodePublish, withSubscriptionIdentifiers } from '../../../common/codec/mqtt/encoder.ts';
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import type {
  ProtocolVersion,
  PublishProperties,
  QoS,
} from '../../../common/codec/mqtt/packets.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';

interface Encoded {
  message: Message | undefined;
  /** Message expiry interval with which it was encoded. */
  seconds: number | undefined;
  publish: EncodedPublish;
}

interface Identified {
  /** What the identifiers were spliced into: it changes with the message and with what is left of its expiry. */
  base: EncodedPublish;
  identifiers: readonly number[];
  publish: EncodedPublish;
}

const nothing: EncodedPublish = {
  bytes: emptyBuffer,
  packetIdOffset: 0,
  expiryOffset: 0,
  topic: '',
};

/** By version, QoS and retain: the last message that was encoded so. */
const last: readonly Encoded[] = Array.from({ length: 16 }, () => ({
  message: undefined,
  seconds: undefined,
  publish: nothing,
}));
/** The last that was given identifiers. */
const lastIdentified: Identified = { base: nothing, identifiers: [], publish: nothing };

/**
 * A message of QoS 0 that came as these bytes leaves as the same bytes, to whoever speaks the version that it came in;
 * neither payload nor topic is copied before the write. For a message that is published within the turn, while its read
 * buffer is at hand. Together with that: 1.4 µs a message instead of 2.4 (mqtt-pipelined).
 */
export function passOn(message: Message, version: ProtocolVersion, bytes: Buffer): void {
  const { topic } = message;
  keep(indexOf(version, 0, false), message, undefined, {
    bytes,
    packetIdOffset: 0,
    expiryOffset: 0,
    topic,
  });
}

/**
 * @param nowMs wall clock, for the message expiry interval that is left (MQTT 5 §3.3.2.3.3).
 * @param identifiers of the subscriptions that matched (MQTT 5 §3.3.2.3.8); 3.1.1 has none.
 */
export function encodedFor(
  message: Message,
  version: ProtocolVersion,
  qos: QoS,
  retain: boolean,
  nowMs: number,
  identifiers: readonly number[] = [],
): EncodedPublish {
  const base = encodedOnce(message, version, qos, retain, nowMs);
  if (identifiers.length === 0 || version === 4) return base;
  if (lastIdentified.base !== base || !sameNumbers(lastIdentified.identifiers, identifiers)) {
    lastIdentified.base = base;
    lastIdentified.identifiers = identifiers;
    lastIdentified.publish = withSubscriptionIdentifiers(base, identifiers);
  }
  return lastIdentified.publish;
}

function encodedOnce(
  message: Message,
  version: ProtocolVersion,
  qos: QoS,
  retain: boolean,
  nowMs: number,
): EncodedPublish {
  const at = indexOf(version, qos, retain);
  const seconds = version === 5 ? secondsLeft(message, nowMs) : undefined;
  const known = last[at];
  if (known?.message === message && known.seconds === seconds) return known.publish;
  const encoded = encodePublish(
    {
      topic: message.topic,
      payload: message.payload,
      qos,
      retain,
      dup: false,
      properties: version === 5 ? propertiesWith(message, seconds) : noProperties,
    },
    version,
  );
  keep(at, message, seconds, encoded);
  return encoded;
}

function indexOf(version: ProtocolVersion, qos: QoS, retain: boolean): number {
  return (version === 5 ? 8 : 0) + qos * 2 + (retain ? 1 : 0);
}

function keep(
  at: number,
  message: Message,
  seconds: number | undefined,
  publish: EncodedPublish,
): void {
  const entry = last[at];
  if (entry === undefined) return;
  entry.message = message;
  entry.seconds = seconds;
  entry.publish = publish;
}

function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  return a === b || (a.length === b.length && a.every((each, index) => each === b[index]));
}

function secondsLeft({ expiresAt, properties }: Message, nowMs: number): number | undefined {
  if (expiresAt === undefined) return undefined;
  // Never more than the publisher said, whatever was done to the clock.
  const most = properties.messageExpiryInterval ?? 0;
  return Math.min(most, Math.max(0, Math.ceil((expiresAt - nowMs) / 1_000)));
}

function propertiesWith({ properties }: Message, seconds: number | undefined): PublishProperties {
  return seconds === undefined ? properties : { ...properties, messageExpiryInterval: seconds };
}
