/** Our packets in the words of npm's mqtt-packet, the codec of MQTT.js, as an independent witness. */
import { generate, parser, type Packet as PeerPacket } from 'mqtt-packet';
import type {
  Packet,
  ProtocolVersion,
  UserProperty,
} from '../../../src/common/codec/mqtt/packets.ts';

/** Own keys only, so that `__proto__` is one among others. */
function userPropertiesOf(pairs: readonly UserProperty[]): object {
  const groups = Map.groupBy(pairs, ([name]) => name);
  return Object.fromEntries(
    Array.from(groups, ([name, group]) => {
      const values = group.map(([, value]) => value);
      return [name, values.length === 1 ? values[0] : values];
    }),
  );
}

interface AnyProperties {
  readonly payloadFormatIndicator?: 0 | 1;
  readonly userProperties?: readonly UserProperty[];
  readonly subscriptionIdentifiers?: readonly number[];
}

function propertiesOf(properties: AnyProperties): object | undefined {
  const { payloadFormatIndicator, userProperties, subscriptionIdentifiers, ...same } = properties;
  const peer = {
    ...same,
    ...(payloadFormatIndicator !== undefined && {
      payloadFormatIndicator: payloadFormatIndicator === 1,
    }),
    ...(userProperties !== undefined && { userProperties: userPropertiesOf(userProperties) }),
    ...(subscriptionIdentifiers !== undefined && {
      subscriptionIdentifier: subscriptionIdentifiers,
    }),
  };
  return Object.keys(peer).length === 0 ? undefined : peer;
}

function withProperties<Fields extends object>(fields: Fields, properties: AnyProperties): Fields {
  const peer = propertiesOf(properties);
  return peer === undefined ? fields : { ...fields, properties: peer };
}

function fieldsOf(packet: Packet, version: ProtocolVersion): object {
  switch (packet.type) {
    case 'connect': {
      const { will } = packet;
      return {
        protocolId: 'MQTT',
        protocolVersion: packet.version,
        clean: packet.cleanStart,
        keepalive: packet.keepAlive,
        clientId: packet.clientId,
        ...(packet.userName !== undefined && { username: packet.userName }),
        ...(packet.password !== undefined && { password: packet.password }),
        ...(will !== undefined && {
          will: withProperties(
            { topic: will.topic, payload: will.payload, qos: will.qos, retain: will.retain },
            will.properties,
          ),
        }),
      };
    }
    case 'connack': {
      const { sessionPresent, reasonCode } = packet;
      const code = version === 5 ? { reasonCode } : { returnCode: reasonCode };
      return { sessionPresent, ...code };
    }
    case 'publish': {
      const { topic, payload, qos, retain, dup, packetId } = packet;
      return { topic, payload, qos, retain, dup, ...(qos > 0 && { messageId: packetId }) };
    }
    case 'subscribe':
      return {
        messageId: packet.packetId,
        subscriptions: packet.subscriptions.map((subscription) => ({
          topic: subscription.topicFilter,
          qos: subscription.qos,
          ...(version === 5 && {
            nl: subscription.noLocal,
            rap: subscription.retainAsPublished,
            rh: subscription.retainHandling,
          }),
        })),
      };
    case 'unsubscribe':
      return { messageId: packet.packetId, unsubscriptions: packet.topicFilters };
    case 'suback':
      return { messageId: packet.packetId, granted: packet.reasonCodes };
    case 'unsuback':
      return { messageId: packet.packetId, ...(version === 5 && { granted: packet.reasonCodes }) };
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return {
        messageId: packet.packetId,
        ...(version === 5 && { reasonCode: packet.reasonCode }),
      };
    case 'disconnect':
    case 'auth':
      return version === 5 ? { reasonCode: packet.reasonCode } : {};
    case 'pingreq':
    case 'pingresp':
      return {};
  }
}

function toPeer(packet: Packet, version: ProtocolVersion): object {
  const fields = { cmd: packet.type, ...fieldsOf(packet, version) };
  return 'properties' in packet ? withProperties(fields, packet.properties) : fields;
}

type Direction = 'reads' | 'writes';

/** Where mqtt-packet 9.0.2 falls short of the standard, by name of the packet. */
export const peerFails: ReadonlyMap<string, readonly Direction[]> = new Map([
  ['CONNECT without client id, 5.0', ['writes']],
  ['CONNECT with password and no user name, 5.0', ['writes']],
  // It refuses reason code 0, and writes it with an empty property list, which lacks the method.
  ['AUTH of no bytes, 5.0', ['reads', 'writes']],
]);

/** `packet` as the peer writes it. */
export function peerBytes(packet: Packet, version: ProtocolVersion): Buffer {
  // The peer's union is wider and narrower than ours at once; what it cannot write, it throws at.
  return generate(toPeer(packet, version) as PeerPacket, { protocolVersion: version });
}

/** What the peer reads from `bytes`, and the same packet of ours in its words. */
export function peerReading(
  bytes: Buffer,
  packet: Packet,
  version: ProtocolVersion,
): { readonly read: object; readonly expected: object } {
  const found: PeerPacket[] = [];
  const reader = parser({ protocolVersion: version });
  reader.on('packet', (read) => found.push(read));
  reader.on('error', (error: Error) => {
    throw error;
  });
  reader.parse(bytes);
  const [read] = found;
  if (read === undefined || found.length !== 1) throw new TypeError('The peer read no packet.');
  return { read, expected: toPeer(packet, version) };
}
