/** What a packet's decoder knows beside the packet's bytes. */
import type { ProtocolVersion } from './packets.ts';

/** Who we are: a server refuses packets that only servers send, and a client the reverse. */
export type Role = 'server' | 'client';

export interface DecoderLimits {
  /** Whole packet, fixed header included; judged from the header, before its body is kept. */
  readonly packetBytes: number;
  /** The same while no CONNECT has been accepted: what a stranger can make us hold. */
  readonly connectBytes: number;
  /** Per property list (CONNECT and its will have one each); one more is refused with 0x97. */
  readonly userProperties: number;
  /** UTF-8 bytes of a topic name, a topic filter (`$share/…/` included) or a response topic. */
  readonly topicBytes: number;
  readonly topicLevels: number;
}

export interface DecodeContext {
  readonly role: Role;
  readonly limits: DecoderLimits;
  /** For a server, undefined until a CONNECT was accepted. */
  version: ProtocolVersion | undefined;
  /** What a CONNECT that is not accepted yet says: an answer to it is put in the terms of that version. */
  claimedVersion: ProtocolVersion | undefined;
  /**
   * Topic name of the last PUBLISH when it was ASCII, otherwise empty. A device mostly publishes to one topic: comparing
   * its bytes with the string at hand instead of making a new one brings a PUBLISH from 260 ns to 150
   * (bench/mqtt-codec.ts), and a Map keyed by topic finds a string whose hash it has already asked for in 12 ns, not 43.
   */
  lastTopic: string;
  /** The PUBLISH that was decoded last, when others can be sent its bytes as they are: see `MqttDecoder.sendable`. */
  sendable: Buffer | undefined;
}

export function senderOf(context: DecodeContext): Role {
  return context.role === 'server' ? 'client' : 'server';
}
