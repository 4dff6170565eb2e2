/** Packets to bytes. What cannot be said in MQTT is a defect of ours and throws SallyportError internal. */
import { firstByteOf } from './fixed-header.ts';
import type { Packet, ProtocolVersion } from './packets.ts';
import { encodeAuth } from './packets/auth.ts';
import { encodeConnack } from './packets/connack.ts';
import { encodeConnect } from './packets/connect.ts';
import { encodeDisconnect } from './packets/disconnect.ts';
import { encodePublishResponse } from './packets/publish-response.ts';
import { encodeWholePublish } from './packets/publish.ts';
import { encodeSuback } from './packets/suback.ts';
import { encodeSubscribe } from './packets/subscribe.ts';
import { encodeUnsuback } from './packets/unsuback.ts';
import { encodeUnsubscribe } from './packets/unsubscribe.ts';
import { unencodable, Writer } from './writer.ts';

export { encodePublish, withPacketId, type EncodedPublish } from './packets/publish.ts';
export {
  topicAliasBytes,
  withMessageExpiry,
  withSubscriptionIdentifiers,
  withTopicAlias,
} from './packets/patched-publish.ts';

const writer = new Writer();

/** Writes everything after the fixed header. */
function encodeBody(packet: Exclude<Packet, { type: 'publish' }>, version: ProtocolVersion): void {
  switch (packet.type) {
    case 'connect':
      if (packet.version !== version) throw unencodable('CONNECT is of another version.');
      return encodeConnect(packet, writer);
    case 'connack':
      return encodeConnack(packet, version, writer);
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return encodePublishResponse(packet, version, writer);
    case 'subscribe':
      return encodeSubscribe(packet, version, writer);
    case 'suback':
      return encodeSuback(packet, version, writer);
    case 'unsubscribe':
      return encodeUnsubscribe(packet, version, writer);
    case 'unsuback':
      return encodeUnsuback(packet, version, writer);
    case 'disconnect':
      return encodeDisconnect(packet, version, writer);
    case 'auth':
      if (version === 4) throw unencodable('MQTT 3.1.1 has no AUTH.');
      return encodeAuth(packet, writer);
    case 'pingreq':
    case 'pingresp':
      return undefined;
  }
}

/**
 * One packet in memory of its own. In 3.1.1, properties and what else it cannot say are left out where that is harmless
 * and refused where it would change the meaning: a PUBACK that refuses, a DISCONNECT with a reason.
 *
 * @throws SallyportError internal
 */
export function encode(packet: Packet, version: ProtocolVersion): Buffer {
  if (packet.type === 'publish') return encodeWholePublish(packet, version);
  writer.reset();
  encodeBody(packet, version);
  return writer.packet(firstByteOf(packet.type));
}
