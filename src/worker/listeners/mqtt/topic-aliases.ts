/**
 * Topic aliases of one connection, MQTT 5 §3.3.2.3.4. They never outlive it [MQTT-3.3.2-7]. Behind the handlers
 * everybody sees the topic that an alias stands for: policy, router and log know of no aliases.
 */
import {
  topicAliasBytes,
  withPacketId,
  withTopicAlias,
} from '../../../common/codec/mqtt/encoder.ts';
import type { EncodedPublish } from '../../../common/codec/mqtt/encoder.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Publish } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';

/** Shorter topics are sent as they are: the one use after the setting has to make up for it. */
const leastTopicBytes = 2 * topicAliasBytes + 1;
/** Topics that are remembered; twice as many as there are aliases, if that is more. */
const leastSeen = 16;
/**
 * Messages for each alias that there is: so long without use is idle. More than topics are remembered, so that topics
 * in turn never drive each other out.
 */
const idleAfter = 16;

/** Those that the client sets. Holds at most as many topics as were offered, each bounded by the decoder. */
export class ReceivedAliases {
  readonly #most: number;
  /** There once the client has set one: most never do. */
  #topics: Map<number, string> | undefined;

  /** @param most Topic Alias Maximum of CONNACK. */
  constructor(most: number) {
    this.#most = most;
  }

  /** @returns the packet as it is meant, with its topic and without the alias; else the reason code that refuses it. */
  expand(packet: Publish): Publish | number {
    const { topicAlias: alias = 0, ...others } = packet.properties;
    // MQTT-3.3.2-8, -9
    if (alias < 1 || alias > this.#most) return ReasonCode.topicAliasInvalid;
    const topic = packet.topic === '' ? this.#topics?.get(alias) : packet.topic;
    if (topic === undefined) return ReasonCode.protocolError;
    this.#topics ??= new Map();
    if (packet.topic !== '') this.#topics.set(alias, topic);
    const properties = Object.keys(others).length === 0 ? noProperties : others;
    return { ...packet, topic, properties };
  }
}

interface SentAlias {
  readonly alias: number;
  topic: string;
  /** The message, counted from the first, that it was used for last. */
  usedAt: number;
}

/**
 * Those that the gateway sets. A topic gets one when it comes again while it is remembered; one that stands idle gives
 * way. A reader of many topics in turn therefore pays nothing for what does not come back soon, and what is in use is not
 * driven out by what comes as often.
 */
export class SentAliases {
  readonly #most: number;
  readonly #maximumPacketSize: number;
  readonly #byTopic = new Map<string, SentAlias>();
  readonly #aliases: SentAlias[] = [];
  /** Topics that were sent lately, and without an alias. */
  readonly #seen = new Set<string>();
  #hand = 0;
  #sent = 0;

  /**
   * @param most Topic Alias Maximum of CONNECT, bounded by our own limit; at least 1.
   * @param maximumPacketSize bytes; setting an alias makes its packet longer.
   */
  constructor(most: number, maximumPacketSize: number) {
    this.#most = most;
    this.#maximumPacketSize = maximumPacketSize;
  }

  /**
   * The bytes for this client, to be written now: what sets an alias MUST NOT be dropped after this.
   *
   * @param packetId ignored for QoS 0.
   */
  encode(encoded: EncodedPublish, packetId: number): Buffer {
    const { topic } = encoded;
    this.#sent += 1;
    const known = this.#byTopic.get(topic);
    if (known !== undefined) {
      known.usedAt = this.#sent;
      return withTopicAlias(encoded, known.alias, false, packetId);
    }
    const alias = this.#set(topic, encoded.bytes.length);
    if (alias !== undefined) return withTopicAlias(encoded, alias, true, packetId);
    return encoded.packetIdOffset === 0 ? encoded.bytes : withPacketId(encoded, packetId);
  }

  #set(topic: string, bytes: number): number | undefined {
    // In UTF-16 units, which are never more than the bytes.
    if (topic.length < leastTopicBytes) return undefined;
    // The property list and the packet may both need one more byte for their length.
    if (bytes + topicAliasBytes + 2 > this.#maximumPacketSize) return undefined;
    if (!this.#seen.has(topic)) {
      this.#remember(topic);
      return undefined;
    }
    const slot = this.#slot();
    if (slot === undefined) return undefined;
    this.#seen.delete(topic);
    this.#byTopic.delete(slot.topic);
    slot.topic = topic;
    slot.usedAt = this.#sent;
    this.#byTopic.set(topic, slot);
    return slot.alias;
  }

  /** A free alias, or the next one if it stands idle. */
  #slot(): SentAlias | undefined {
    const { length } = this.#aliases;
    if (length < this.#most) {
      const made = { alias: length + 1, topic: '', usedAt: this.#sent };
      this.#aliases.push(made);
      return made;
    }
    const slot = this.#aliases[this.#hand];
    this.#hand = (this.#hand + 1) % length;
    return slot !== undefined && this.#sent - slot.usedAt > idleAfter * length ? slot : undefined;
  }

  #remember(topic: string): void {
    // Emptied and not trimmed, like other caches of topics: what comes often comes again.
    if (this.#seen.size >= Math.max(leastSeen, 2 * this.#most)) this.#seen.clear();
    this.#seen.add(topic);
  }
}
