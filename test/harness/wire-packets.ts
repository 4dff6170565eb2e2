/**
 * Packets of a server, cut and judged by what binds every one of them (MQTT 5, chapters 1 and 2): each byte of a fixed
 * header, lengths in as few bytes as can be, property lists with properties that the packet may have, texts in UTF-8.
 */
import assert from 'node:assert/strict';
import type { MqttVersion, RawPacket } from './mqtt-bytes.ts';
import { binaryAt, tryVarintAt, varint } from './mqtt-fields.ts';
import { decodeProperties } from './mqtt-properties.ts';
import type { PropertyName } from './mqtt-properties.ts';

export interface WirePacket extends RawPacket {
  readonly bytes: Buffer;
}

interface ServerPacket {
  /** Undefined for PUBLISH, whose flags are judged apart. */
  readonly flags: number | undefined;
  /** Where a property list starts in MQTT 5; undefined: there is none. */
  readonly propertiesAt: ((packet: RawPacket) => number) | undefined;
  readonly properties: readonly PropertyName[];
  /** Reason codes that a server may send; undefined: it has none. */
  readonly codes?: readonly number[];
}

/** Written in hexadecimal, as the standard's tables have them. */
const codes = (table: string): readonly number[] => [
  ...Buffer.from(table.replaceAll(' ', ''), 'hex'),
];

/** MQTT 5 §3.2.2.2. */
const connackCodes = codes('00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f');
/** §3.4.2.1, §3.5.2.1. */
const receivedCodes = codes('00 10 80 83 87 90 91 97 99');
/** §3.6.2.1, §3.7.2.1. */
const releasedCodes = codes('00 92');
/** §3.9.3. */
const subackCodes = codes('00 01 02 80 83 87 8f 91 97 9e a1 a2');
/** §3.11.3. */
const unsubackCodes = codes('00 11 80 83 87 8f 91');
/** §3.14.2.1. */
const disconnectCodes = codes(
  '00 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2',
);

const said: readonly PropertyName[] = ['reasonString', 'userProperty'];
const withCode = ({ body }: RawPacket): number => (body.length > 3 ? 3 : body.length);
const withId = (): number => 2;

const rows: ReadonlyMap<number, ServerPacket> = new Map<number, ServerPacket>([
  [
    2,
    {
      flags: 0,
      codes: connackCodes,
      propertiesAt: withId,
      properties: [
        ...said,
        'sessionExpiryInterval',
        'receiveMaximum',
        'maximumQoS',
        'retainAvailable',
        'maximumPacketSize',
        'assignedClientIdentifier',
        'topicAliasMaximum',
        'wildcardSubscriptionAvailable',
        'subscriptionIdentifiersAvailable',
        'sharedSubscriptionAvailable',
        'serverKeepAlive',
        'responseInformation',
        'serverReference',
        'authenticationMethod',
        'authenticationData',
      ],
    },
  ],
  [
    3,
    {
      flags: undefined,
      propertiesAt: ({ flags, body }) => 2 + body.readUInt16BE(0) + ((flags & 6) === 0 ? 0 : 2),
      properties: [
        'payloadFormatIndicator',
        'messageExpiryInterval',
        'topicAlias',
        'responseTopic',
        'correlationData',
        'userProperty',
        'subscriptionIdentifier',
        'contentType',
      ],
    },
  ],
  [4, { flags: 0, codes: receivedCodes, propertiesAt: withCode, properties: said }],
  [5, { flags: 0, codes: receivedCodes, propertiesAt: withCode, properties: said }],
  [6, { flags: 2, codes: releasedCodes, propertiesAt: withCode, properties: said }],
  [7, { flags: 0, codes: releasedCodes, propertiesAt: withCode, properties: said }],
  [9, { flags: 0, codes: subackCodes, propertiesAt: withId, properties: said }],
  [11, { flags: 0, codes: unsubackCodes, propertiesAt: withId, properties: said }],
  [13, { flags: 0, propertiesAt: undefined, properties: [] }],
  [
    14,
    {
      flags: 0,
      codes: disconnectCodes,
      propertiesAt: ({ body }) => Math.min(1, body.length),
      properties: [...said, 'serverReference'],
    },
  ],
]);

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The packet at the front of what has come; undefined while it is not whole. @throws AssertionError when it is wrong. */
export function cutPacket(version: MqttVersion, bytes: Buffer): WirePacket | undefined {
  const length = tryVarintAt(bytes, 1);
  if (length === undefined || bytes.length < length.end + length.value) return undefined;
  assert.equal(length.end, 1 + varint(length.value).length, 'a padded remaining length');
  const first = bytes.readUInt8(0);
  const whole = Buffer.from(bytes.subarray(0, length.end + length.value));
  const packet = {
    type: first >> 4,
    flags: first & 0x0f,
    body: whole.subarray(length.end),
    bytes: whole,
  };
  judge(version, packet);
  return packet;
}

function judge(version: MqttVersion, packet: WirePacket): void {
  const { type, flags, body } = packet;
  const row = rows.get(type);
  assert.ok(row !== undefined, `a server sends no packet of type ${type}`);
  if (row.flags !== undefined) assert.equal(flags, row.flags, `flags of type ${type}`);
  if (type === 3) judgePublish(flags, body);
  if (type === 2) assert.equal(body.readUInt8(0) & 0xfe, 0, 'CONNACK with reserved flags');
  if (type === 13) assert.equal(body.length, 0, 'PINGRESP with a body');
  if (version === 4) {
    assert.notEqual(type, 14, 'a server of 3.1.1 sends no DISCONNECT');
    return;
  }
  const codeAt = codesAt.get(type);
  if (codeAt !== undefined) judgeCodes(row, packet, body.subarray(codeAt, codeAt + 1));
  const at = row.propertiesAt?.(packet);
  // Acknowledgements and DISCONNECT may leave their list out (§3.4.2.2.1); CONNACK, PUBLISH, SUBACK, UNSUBACK may not.
  if (at === undefined || (at === body.length && ![2, 3, 9, 11].includes(type))) return;
  const { properties, end } = decodeProperties(body, at);
  const isList = type === 9 || type === 11;
  if (isList) judgeCodes(row, packet, body.subarray(end));
  else if (type !== 3) assert.equal(end, body.length, `packet type ${type} goes on after its end`);
  const seen = new Set<PropertyName>();
  for (const [name, value] of properties) {
    assert.ok(row.properties.includes(name), `packet type ${type} with ${name}`);
    const mayRepeat: boolean = name === 'userProperty' || name === 'subscriptionIdentifier';
    assert.ok(mayRepeat || !seen.has(name), `${name} twice`);
    seen.add(name);
    if (name === 'topicAlias' || name === 'subscriptionIdentifier') assert.notEqual(value, 0);
  }
}

/** Where packets with one reason code have it, unless they leave it out, which means 0. */
const codesAt: ReadonlyMap<number, number> = new Map([
  [2, 1],
  [4, 2],
  [5, 2],
  [6, 2],
  [7, 2],
  [14, 0],
]);

function judgeCodes(row: ServerPacket, { type, bytes }: WirePacket, sent: Buffer): void {
  for (const code of sent) {
    assert.ok(row.codes?.includes(code), `code ${code} in type ${type}: ${bytes.toString('hex')}`);
  }
}

function judgePublish(flags: number, body: Buffer): void {
  assert.notEqual(flags & 6, 6, 'QoS 3');
  if ((flags & 6) === 0) assert.equal(flags & 8, 0, 'a duplicate of QoS 0');
  const topic = binaryAt(body, 0);
  const text = utf8.decode(topic.value);
  assert.doesNotMatch(text, /[+#\0]/u, 'a topic with a wildcard or NUL');
  if ((flags & 6) !== 0) assert.notEqual(body.readUInt16BE(topic.end), 0, 'packet identifier 0');
}
