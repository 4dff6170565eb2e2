/** Every packet that MQTT can carry and our limits let through, for property tests. */
import { fc } from '../../../src/common/base/property-test-support.ts';
import {
  noProperties,
  type Packet,
  type ProtocolVersion,
  type QoS,
} from '../../../src/common/codec/mqtt/packets.ts';
import type { Role } from '../../../src/common/codec/mqtt/decoder.ts';

export interface SentPacket {
  readonly version: ProtocolVersion;
  readonly sender: Role;
  readonly packet: Packet;
}

const text = fc
  .string({ unit: 'binary', maxLength: 12 })
  .map((value) => value.replaceAll('\0', '\u0001'));
const level = text.map((value) => value.replaceAll(/[+#/]/g, '-'));
const topic = fc
  .array(level, { minLength: 1, maxLength: 5 })
  .map((levels) => levels.join('/'))
  .filter((value) => value.length > 0 && Buffer.byteLength(value) <= 100);
const filter = fc
  .array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 })
  .chain((levels) =>
    fc.constantFrom([...levels, '#'].join('/'), levels.join('/'), `$share/g/${levels.join('/')}x`),
  )
  .map((value) => value.replace(/\+x$/, '+').replace(/^\$share\/[^g].*$/s, 'x'))
  .filter((value) => value.length > 0 && Buffer.byteLength(value) <= 100);
const binary = fc.uint8Array({ maxLength: 20 }).map((value) => Buffer.from(value));
const u16 = fc.integer({ min: 0, max: 0xffff });
const positive16 = fc.integer({ min: 1, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const identifier = fc.integer({ min: 1, max: 268_435_455 });
const bit = fc.constantFrom(0 as const, 1 as const);
const qos = fc.constantFrom<QoS>(0, 1, 2);
const userProperties = fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 3 });

/** A property list of MQTT 5; none at all in 3.1.1. */
function lists<Shape extends object>(
  version: ProtocolVersion,
  shape: { [Name in keyof Shape]: fc.Arbitrary<Shape[Name]> },
): fc.Arbitrary<Partial<Shape>> {
  if (version === 4) return fc.constant(noProperties);
  // No required keys makes each optional, which the library's type does not show while Shape is open.
  return fc.record(shape, { requiredKeys: [] }) as fc.Arbitrary<Partial<Shape>>;
}

const message = {
  payloadFormatIndicator: bit,
  messageExpiryInterval: u32,
  contentType: text,
  responseTopic: topic,
  correlationData: binary,
  userProperties,
};
const reason = { reasonString: text, userProperties };

function connect(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const will = fc.record({
    topic,
    payload: binary,
    qos,
    retain: fc.boolean(),
    properties: lists(version, { willDelayInterval: u32, ...message }),
  });
  const properties = lists(version, {
    sessionExpiryInterval: u32,
    receiveMaximum: positive16,
    maximumPacketSize: u32.map((value) => Math.max(1, value)),
    topicAliasMaximum: u16,
    requestResponseInformation: fc.boolean(),
    requestProblemInformation: fc.boolean(),
    authenticationMethod: text,
    userProperties,
  });
  const optional = <Value>(of: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
    fc.option(of, { nil: undefined });
  const base = fc.record({
    type: fc.constant('connect' as const),
    version: fc.constant(version),
    cleanStart: fc.boolean(),
    keepAlive: u16,
    clientId: text,
    will: optional(will),
    userName: version === 5 ? optional(text) : text,
    password: optional(binary),
    properties,
  });
  return base;
}

function connack(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const code =
    version === 5 ? fc.constantFrom(0, 0x80, 0x87, 0x9f) : fc.integer({ min: 0, max: 5 });
  return fc
    .record({
      type: fc.constant('connack' as const),
      sessionPresent: fc.boolean(),
      reasonCode: code,
      properties: lists(version, {
        sessionExpiryInterval: u32,
        receiveMaximum: positive16,
        maximumQoS: bit,
        retainAvailable: fc.boolean(),
        assignedClientIdentifier: text,
        serverKeepAlive: u16,
        responseInformation: text,
        serverReference: text,
        authenticationMethod: text,
        authenticationData: binary,
        ...reason,
      }),
    })
    .map((packet) => (packet.reasonCode === 0 ? packet : { ...packet, sessionPresent: false }));
}

function publish(version: ProtocolVersion, sender: Role): fc.Arbitrary<Packet> {
  const aliased = { ...message, topicAlias: positive16 };
  const properties =
    sender === 'client'
      ? lists(version, aliased)
      : lists(version, {
          ...aliased,
          subscriptionIdentifiers: fc.array(identifier, { minLength: 1, maxLength: 3 }),
        });
  return fc
    .record({
      type: fc.constant('publish' as const),
      dup: fc.boolean(),
      qos,
      retain: fc.boolean(),
      topic,
      packetId: positive16,
      payload: fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value)),
      properties,
    })
    .map((packet) => (packet.qos === 0 ? { ...packet, dup: false, packetId: 0 } : packet));
}

function response(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const type = fc.constantFrom('puback', 'pubrec', 'pubrel', 'pubcomp');
  return type.chain((name) => {
    const failure = name === 'puback' || name === 'pubrec' ? 0x87 : 0x92;
    return fc.record({
      type: fc.constant(name),
      packetId: positive16,
      reasonCode: version === 5 ? fc.constantFrom(0, failure) : fc.constant(0),
      properties: lists(version, reason),
    });
  });
}

function fromClient(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const subscription = fc.record({
    topicFilter: filter,
    qos,
    noLocal: fc.constant(false),
    retainAsPublished: version === 5 ? fc.boolean() : fc.constant(false),
    retainHandling: version === 5 ? fc.constantFrom(0, 1, 2) : fc.constant(0 as const),
  });
  const list: fc.Arbitrary<Packet>[] = [
    connect(version),
    fc.record({
      type: fc.constant('subscribe' as const),
      packetId: positive16,
      subscriptions: fc.array(subscription, { minLength: 1, maxLength: 4 }),
      properties: lists(version, { subscriptionIdentifier: identifier, userProperties }),
    }),
    fc.record({
      type: fc.constant('unsubscribe' as const),
      packetId: positive16,
      topicFilters: fc.array(filter, { minLength: 1, maxLength: 4 }),
      properties: lists(version, { userProperties }),
    }),
    fc.constant({ type: 'pingreq' }),
    fc.record({
      type: fc.constant('disconnect' as const),
      reasonCode: version === 5 ? fc.constantFrom(0, 4, 0x80) : fc.constant(0),
      properties: lists(version, { sessionExpiryInterval: u32, ...reason }),
    }),
  ];
  return fc.oneof(...list);
}

function fromServer(version: ProtocolVersion): fc.Arbitrary<Packet> {
  const codes = (values: readonly number[]): fc.Arbitrary<number[]> =>
    fc.array(fc.constantFrom(...values), { minLength: 1, maxLength: 4 });
  const list: fc.Arbitrary<Packet>[] = [
    connack(version),
    fc.record({
      type: fc.constant('suback' as const),
      packetId: positive16,
      reasonCodes: codes(version === 5 ? [0, 1, 2, 0x87, 0xa2] : [0, 1, 2, 0x80]),
      properties: lists(version, reason),
    }),
    fc.record({
      type: fc.constant('unsuback' as const),
      packetId: positive16,
      reasonCodes: version === 5 ? codes([0, 0x11, 0x87]) : fc.constant([]),
      properties: lists(version, reason),
    }),
    fc.constant({ type: 'pingresp' }),
  ];
  if (version === 5) {
    list.push(
      fc.record({
        type: fc.constant('disconnect' as const),
        reasonCode: fc.constantFrom(0, 0x8b, 0x98),
        properties: lists(version, { serverReference: text, ...reason }),
      }),
      fc.record({
        type: fc.constant('auth' as const),
        reasonCode: fc.constantFrom(0, 0x18),
        properties: fc.record(
          { authenticationMethod: text, authenticationData: binary, ...reason },
          { requiredKeys: ['authenticationMethod'] },
        ),
      }),
    );
  }
  return fc.oneof(...list);
}

export const sentPackets: fc.Arbitrary<SentPacket> = fc
  .tuple(fc.constantFrom<ProtocolVersion>(4, 5), fc.constantFrom<Role>('client', 'server'))
  .chain(([version, sender]) => {
    const own = sender === 'client' ? fromClient(version) : fromServer(version);
    return fc
      .oneof(own, publish(version, sender), response(version))
      .map((packet) => ({ version, sender, packet }));
  });
