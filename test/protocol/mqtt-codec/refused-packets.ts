/** What a decoder must refuse, each with its reason code and the statement that is broken. */
import type { Role } from '../../../src/common/codec/mqtt/decoder.ts';
import type { ProtocolVersion } from '../../../src/common/codec/mqtt/packets.ts';
import { bytes } from './notation.ts';

export interface RefusedPacket {
  readonly name: string;
  readonly receiver: Role;
  /** What the receiver knows when the packet comes: undefined before CONNECT. */
  readonly version: ProtocolVersion | undefined;
  readonly bytes: Buffer;
  readonly reasonCode: number;
  readonly statement: string;
  /** What the error says; differs from `version` for a CONNECT that is refused. */
  readonly errorVersion: ProtocolVersion | undefined;
}

type Fault = readonly [name: string, notation: string, reasonCode: number, statement?: string];

function refuse(
  receiver: Role,
  version: ProtocolVersion | undefined,
  faults: readonly Fault[],
  errorVersion = version,
): readonly RefusedPacket[] {
  return faults.map(([name, notation, reasonCode, statement = '']) => ({
    name,
    receiver,
    version,
    bytes: bytes(notation),
    reasonCode,
    statement,
    errorVersion,
  }));
}

const beforeVersion = refuse('server', undefined, [
  ['PUBLISH first', "30 07 0003 'a/b' 'hi'", 0x82, 'MQTT-3.1.0-1'],
  ['PINGREQ first', 'c0 00', 0x82, 'MQTT-3.1.0-1'],
  ['an HTTP request', "'GET / HTTP/1.1'", 0x82, 'MQTT-3.1.0-1'],
  ['packet type 0 first', '00 00', 0x82, 'MQTT-3.1.0-1'],
  ['CONNECT with a flag in its first byte', '11 0e', 0x81, 'MQTT-2.1.3-1'],
  ['CONNECT of five length bytes', '10 80 80 80 80 01', 0x81],
  ['CONNECT of a padded length', "10 8e 00 0004 'MQTT' 04 02 003c 0002 'd1'", 0x81, 'MQTT-1.5.5-1'],
  ['CONNECT over the limit', '10 ff ff ff 7f', 0x95],
  ['an empty CONNECT', '10 00', 0x81],
  ['protocol name mqtt', "10 0e 0004 'mqtt' 04 02 003c 0002 'd1'", 0x84, 'MQTT-3.1.2-1'],
  ['protocol version 6', "10 0e 0004 'MQTT' 06 02 003c 0002 'd1'", 0x84, 'MQTT-3.1.2-2'],
  ['a bridge of version 0x84', "10 0e 0004 'MQTT' 84 02 003c 0002 'd1'", 0x84, 'MQTT-3.1.2-2'],
]);

/** Older than 3.1.1 and answered in its terms. */
const beforeVersion4 = refuse(
  'server',
  undefined,
  [
    ['MQIsdp 3', "10 10 0006 'MQIsdp' 03 02 003c 0002 'd1'", 0x84, 'MQTT-3.1.2-1'],
    ['protocol version 3', "10 0e 0004 'MQTT' 03 02 003c 0002 'd1'", 0x84, 'MQTT-3.1.2-2'],
  ],
  4,
);

const connect4 = refuse(
  'server',
  undefined,
  [
    ['the reserved connect flag', "10 0e 0004 'MQTT' 04 03 003c 0002 'd1'", 0x81, 'MQTT-3.1.2-3'],
    ['Will QoS without a will', "10 0e 0004 'MQTT' 04 0a 003c 0002 'd1'", 0x81, 'MQTT-3.1.2-11'],
    ['Will Retain without a will', "10 0e 0004 'MQTT' 04 22 003c 0002 'd1'", 0x81, 'MQTT-3.1.2-13'],
    [
      'Will QoS 3',
      "10 14 0004 'MQTT' 04 1e 003c 0002 'd1' 0001 'w' 0001 'x'",
      0x81,
      'MQTT-3.1.2-12',
    ],
    [
      'a password without a user name',
      "10 11 0004 'MQTT' 04 42 003c 0002 'd1' 0001 'p'",
      0x81,
      'MQTT-3.1.2-22',
    ],
    ['bytes after the client id', "10 0f 0004 'MQTT' 04 02 003c 0002 'd1' 00", 0x81],
    ['a client id past the end', "10 0e 0004 'MQTT' 04 02 003c 0003 'd1'", 0x81],
    [
      'a client id of invalid UTF-8',
      "10 0e 0004 'MQTT' 04 02 003c 0002 c080",
      0x81,
      'MQTT-1.5.4-1',
    ],
    ['a client id with U+0000', "10 0e 0004 'MQTT' 04 02 003c 0002 6400", 0x81, 'MQTT-1.5.4-2'],
    ['a user name that is not there', "10 0e 0004 'MQTT' 04 82 003c 0002 'd1'", 0x81],
    [
      'a will topic with a wildcard',
      "10 14 0004 'MQTT' 04 06 003c 0002 'd1' 0001 '+' 0001 'x'",
      0x90,
      'MQTT-4.7.0-1',
    ],
    [
      'an empty will topic',
      "10 13 0004 'MQTT' 04 06 003c 0002 'd1' 0000 0001 'x'",
      0x90,
      'MQTT-4.7.3-1',
    ],
    [
      'a will topic of too many levels',
      "10 1e 0004 'MQTT' 04 06 003c 0002 'd1' 000b '//////////x' 0001 'x'",
      0x90,
    ],
  ],
  4,
);

function hex(value: number): string {
  return value.toString(16).padStart(2, '0');
}

/** A CONNECT of 5.0 with one property list; for lists under 128 bytes. */
function connect5(list: string): string {
  const length = bytes(list).length;
  return `10 ${hex(15 + length)} 0004 'MQTT' 05 02 003c ${hex(length)} ${list} 0002 'd1'`;
}

const pairs = "26 0001 'k' 0001 'v'";
const connectProperties = refuse(
  'server',
  undefined,
  [
    ['no property list', "10 0a 0004 'MQTT' 05 02 003c", 0x81],
    ['a property list past the end', "10 0f 0004 'MQTT' 05 02 003c 05 0002 'd1'", 0x81],
    ['a property that crosses the end of its list', connect5('11 0000'), 0x81],
    [
      'a padded property length',
      "10 10 0004 'MQTT' 05 02 003c 80 00 0002 'd1'",
      0x81,
      'MQTT-1.5.5-1',
    ],
    ['an unknown property', connect5('2b 00'), 0x81],
    ['property 0', connect5('00'), 0x81],
    ['a property of another packet', connect5('23 0001'), 0x81],
    ['a will property outside the will', connect5('18 00000001'), 0x81],
    ['Session Expiry Interval twice', connect5('11 00000000 11 00000000'), 0x82],
    ['Receive Maximum 0', connect5('21 0000'), 0x82],
    ['Maximum Packet Size 0', connect5('27 00000000'), 0x82],
    ['Request Response Information 2', connect5('19 02'), 0x82],
    ['Request Problem Information 2', connect5('17 02'), 0x82],
    ['Authentication Method twice', connect5("15 0001 'm' 15 0001 'm'"), 0x82],
    ['Authentication Data without a method', connect5('16 0001 00'), 0x82],
    ['an Authentication Method of invalid UTF-8', connect5('15 0001 ff'), 0x81, 'MQTT-1.5.4-1'],
    ['more user properties than allowed', connect5(`${pairs} ${pairs} ${pairs} ${pairs}`), 0x97],
    ['half a user property', connect5("26 0001 'k'"), 0x81],
    [
      'more will properties than allowed',
      `10 30 0004 'MQTT' 05 06 003c 00 0002 'd1' 1c ${pairs} ${pairs} ${pairs} ${pairs} 0001 'w' 0000`,
      0x97,
    ],
    [
      'Will Delay Interval twice',
      "10 20 0004 'MQTT' 05 06 003c 00 0002 'd1' 0a 18 00000001 18 00000001 0001 'w' 0001 'x'",
      0x82,
    ],
  ],
  5,
);

const fixedHeaders: readonly Fault[] = [
  ['packet type 0', '00 00', 0x81],
  ['PUBLISH QoS 3', "36 08 0003 'a/b' 0001 00", 0x81, 'MQTT-3.3.1-4'],
  ['PUBLISH QoS 0 with DUP', "38 06 0003 'a/b' 00", 0x81, 'MQTT-3.3.1-2'],
  ['PUBACK with flags', '42 02 0001', 0x81, 'MQTT-2.1.3-1'],
  ['PUBREL without its flags', '60 02 0001', 0x81, 'MQTT-3.6.1-1'],
  ['DISCONNECT with flags', 'e1 00', 0x81, 'MQTT-3.14.1-1'],
  ['a length of five bytes', 'e0 80 80 80 80 00', 0x81],
  ['a padded length', 'e0 80 00', 0x81, 'MQTT-1.5.5-1'],
  ['a packet over the limit', '30 81 80 04', 0x95],
  ['the longest packet', '30 ff ff ff 7f', 0x95],
  ['PUBACK without packet identifier', '40 00', 0x81],
  ['PUBACK of one byte', '40 01 00', 0x81],
  ['PUBACK of packet identifier 0', '40 02 0000', 0x82, 'MQTT-2.2.1-3'],
];

const serverOnly: readonly Fault[] = [
  ['a second CONNECT', "10 0e 0004 'MQTT' 04 02 003c 0002 'd1'", 0x82, 'MQTT-3.1.0-2'],
  ['CONNACK from a client', '20 02 00 00', 0x82],
  ['SUBACK from a client', '90 03 0001 00', 0x82],
  ['UNSUBACK from a client', 'b0 02 0001', 0x82],
  ['PINGRESP from a client', 'd0 00', 0x82],
  ['SUBSCRIBE without its flags', "80 06 0001 0001 'a' 00", 0x81, 'MQTT-3.8.1-1'],
  ['UNSUBSCRIBE without its flags', "a0 05 0001 0001 'a'", 0x81, 'MQTT-3.10.1-1'],
  ['PINGREQ with a body', 'c0 01 00', 0x81],
];

const in4 = refuse('server', 4, [
  ...fixedHeaders,
  ...serverOnly,
  ['AUTH in 3.1.1', 'f0 00', 0x81],
  ['PUBLISH without topic', "30 04 0000 'hi'", 0x82, 'MQTT-4.7.3-1'],
  ['PUBLISH to +', "30 03 0001 '+'", 0x90, 'MQTT-3.3.2-2'],
  ['PUBACK of three bytes', '40 03 0001 00', 0x81],
  ['DISCONNECT with a body', 'e0 01 00', 0x81],
  ['SUBSCRIBE QoS 3', "82 06 0001 0001 'a' 03", 0x81, 'MQTT-3.8.3-4'],
  ['SUBSCRIBE with options of 5.0', "82 06 0001 0001 'a' 04", 0x81, 'MQTT-3.8.3-4'],
  ['SUBSCRIBE without filter', '82 02 0001', 0x82, 'MQTT-3.8.3-2'],
  ['UNSUBSCRIBE without filter', 'a2 02 0001', 0x82, 'MQTT-3.10.3-2'],
]);

/** A PUBLISH of QoS 0 to `a` with one property list; for lists under 128 bytes. */
function publish5(list: string): string {
  const length = bytes(list).length;
  return `30 ${hex(4 + length)} 0001 'a' ${hex(length)} ${list}`;
}

function withFilter(filter: string, options = '00'): string {
  const notation = filter === '' ? '' : `'${filter}'`;
  return `82 ${hex(6 + filter.length)} 0001 00 00${hex(filter.length)} ${notation} ${options}`;
}

const filters: readonly Fault[] = [
  ['an empty filter', withFilter(''), 0x8f, 'MQTT-4.7.3-1'],
  ['# before the last level', withFilter('#/a'), 0x8f, 'MQTT-4.7.1-1'],
  ['# beside other characters', withFilter('a#'), 0x8f, 'MQTT-4.7.1-1'],
  ['+ beside other characters', withFilter('a+/b'), 0x8f, 'MQTT-4.7.1-1'],
  ['a share without a name', withFilter('$share//a'), 0x8f, 'MQTT-4.8.2-2'],
  ['a share without a filter', withFilter('$share/g'), 0x8f, 'MQTT-4.8.2-2'],
  ['a share with an empty filter', withFilter('$share/g/'), 0x8f, 'MQTT-4.8.2-2'],
  ['a share name with a wildcard', withFilter('$share/+/a'), 0x8f, 'MQTT-4.8.2-2'],
  ['a filter of too many levels', withFilter('//////////x'), 0x8f],
  ['a filter of too many bytes', withFilter('x'.repeat(101)), 0x8f],
];

const in5 = refuse('server', 5, [
  ...fixedHeaders,
  ...serverOnly,
  ...filters,
  ['PUBLISH without topic or alias', "30 05 0000 00 'hi'", 0x82, 'MQTT-4.7.3-1'],
  ['PUBLISH to a/#', "30 06 0003 'a/#' 00", 0x90, 'MQTT-3.3.2-2'],
  ['PUBLISH to é/+', '30 07 0004 c3a92f2b 00', 0x90, 'MQTT-3.3.2-2'],
  ['PUBLISH to a topic with U+0000', '30 05 0002 6100 00', 0x81, 'MQTT-1.5.4-2'],
  ['PUBLISH to an overlong topic', '30 05 0002 c0af 00', 0x81, 'MQTT-1.5.4-1'],
  ['PUBLISH to a lone surrogate', '30 06 0003 eda080 00', 0x81, 'MQTT-1.5.4-1'],
  ['PUBLISH to a topic of too many levels', "30 0e 000b '//////////x' 00", 0x90],
  [
    'PUBLISH to a topic of too many levels beyond ASCII',
    '30 0f 000c 2f2f2f2f2f2f2f2f2f2fc3a9 00',
    0x90,
  ],
  ['PUBLISH to a topic of too many bytes', `30 68 0065 '${'x'.repeat(101)}' 00`, 0x90],
  ['PUBLISH of packet identifier 0', "32 06 0001 'a' 0000 00", 0x82, 'MQTT-2.2.1-3'],
  ['PUBLISH without property list', "30 03 0001 'a'", 0x81],
  ['PUBLISH with Topic Alias 0', publish5('23 0000'), 0x94, 'MQTT-3.3.2-8'],
  ['PUBLISH with two Topic Aliases', publish5('23 0001 23 0001'), 0x82],
  ['PUBLISH with Payload Format Indicator 2', publish5('01 02'), 0x82],
  ['PUBLISH with a Subscription Identifier', publish5('0b 01'), 0x82, 'MQTT-3.3.4-6'],
  ['PUBLISH with Response Topic #', publish5("08 0001 '#'"), 0x82, 'MQTT-3.3.2-14'],
  ['PUBLISH with an empty Response Topic', publish5('08 0000'), 0x82, 'MQTT-4.7.3-1'],
  ['PUBLISH with a Reason String', publish5("1f 0001 'r'"), 0x81],
  ['PUBLISH with a padded property identifier', publish5('8100 01'), 0x81, 'MQTT-1.5.5-1'],
  ['PUBACK with a code of CONNACK', '40 03 0001 86', 0x82, 'MQTT-3.4.2-1'],
  ['PUBACK with a code of the server', '40 03 0001 10', 0x82, 'MQTT-3.4.2-1'],
  ['PUBREC with an unknown code', '50 03 0001 01', 0x82, 'MQTT-3.5.2-1'],
  ['PUBREL with a code of PUBACK', '62 03 0001 87', 0x82, 'MQTT-3.6.2-1'],
  ['PUBCOMP with a code of PUBACK', '70 03 0001 87', 0x82, 'MQTT-3.7.2-1'],
  ['PUBACK with bytes after its properties', '40 05 0001 00 00 00', 0x81],
  ['SUBSCRIBE of packet identifier 0', "82 07 0000 00 0001 'a' 00", 0x82, 'MQTT-2.2.1-3'],
  ['SUBSCRIBE without filter', '82 03 0001 00', 0x82, 'MQTT-3.8.3-2'],
  ['SUBSCRIBE without options', "82 06 0001 00 0001 'a'", 0x81],
  ['SUBSCRIBE QoS 3', withFilter('a', '03'), 0x82],
  ['SUBSCRIBE with reserved options', withFilter('a', '40'), 0x81, 'MQTT-3.8.3-5'],
  ['SUBSCRIBE with Retain Handling 3', withFilter('a', '30'), 0x82],
  ['SUBSCRIBE shared with No Local', withFilter('$share/g/a', '04'), 0x82, 'MQTT-3.8.3-4'],
  ['SUBSCRIBE with Subscription Identifier 0', "82 09 0001 02 0b 00 0001 'a' 00", 0x82],
  ['SUBSCRIBE with two of them', "82 0b 0001 04 0b 01 0b 02 0001 'a' 00", 0x82],
  ['UNSUBSCRIBE without filter', 'a2 03 0001 00', 0x82, 'MQTT-3.10.3-2'],
  ['UNSUBSCRIBE a#', "a2 07 0001 00 0002 'a#'", 0x8f, 'MQTT-4.7.1-1'],
  ['DISCONNECT with a code of the server', 'e0 01 8b', 0x82, 'MQTT-3.14.2-1'],
  ['DISCONNECT with an unknown code', 'e0 01 01', 0x82, 'MQTT-3.14.2-1'],
  ['DISCONNECT with a Server Reference', "e0 07 00 05 1c 0002 'b2'", 0x82],
  ['DISCONNECT with bytes after its properties', 'e0 03 00 00 00', 0x81],
  ['AUTH with flags', 'f1 00', 0x81, 'MQTT-3.15.1-1'],
  ['AUTH success from a client', 'f0 00', 0x82, 'MQTT-3.15.2-1'],
  ['AUTH without method', 'f0 02 18 00', 0x82],
  ['AUTH without property list', 'f0 01 18', 0x81],
]);

const clientIn4 = refuse('client', 4, [
  ['CONNACK with reserved flags', '20 02 02 00', 0x81, 'MQTT-3.2.2-1'],
  ['CONNACK with return code 6', '20 02 00 06', 0x82],
  ['CONNACK that refuses a present session', '20 02 01 05', 0x82, 'MQTT-3.2.2-6'],
  ['SUBACK with a code of 5.0', '90 03 0001 87', 0x82, 'MQTT-3.9.3-2'],
  ['UNSUBACK with a payload', 'b0 03 0001 00', 0x81],
  ['DISCONNECT from a server of 3.1.1', 'e0 00', 0x82],
]);

const clientIn5 = refuse('client', 5, [
  ['CONNECT from a server', "10 0f 0004 'MQTT' 05 02 003c 00 0002 'd1'", 0x82],
  ['SUBSCRIBE from a server', "82 07 0001 00 0001 'a' 00", 0x82],
  ['UNSUBSCRIBE from a server', "a2 06 0001 00 0001 'a'", 0x82],
  ['PINGREQ from a server', 'c0 00', 0x82],
  ['CONNACK with a return code of 3.1.1', '20 03 00 05 00', 0x82, 'MQTT-3.2.2-8'],
  ['CONNACK with Maximum QoS 2', '20 05 00 00 02 24 02', 0x82],
  ['CONNACK with Retain Available 2', '20 05 00 00 02 25 02', 0x82],
  ['SUBACK without reason codes', '90 03 0001 00', 0x81, 'MQTT-3.9.3-1'],
  ['SUBACK with an unknown code', '90 04 0001 00 03', 0x82, 'MQTT-3.9.3-2'],
  ['UNSUBACK without reason codes', 'b0 03 0001 00', 0x81, 'MQTT-3.11.3-1'],
  ['UNSUBACK with a granted QoS', 'b0 04 0001 00 01', 0x82, 'MQTT-3.11.3-2'],
  ['PUBLISH with Subscription Identifier 0', publish5('0b 00'), 0x82],
  ['DISCONNECT with a code of the client', 'e0 01 04', 0x82, 'MQTT-3.14.2-1'],
  ['DISCONNECT with an expiry', 'e0 07 00 05 11 00000000', 0x82, 'MQTT-3.14.2-2'],
  ['AUTH with a code of the client', "f0 06 19 04 15 0001 'm'", 0x82, 'MQTT-3.15.2-1'],
]);

/** The limits that the rows above are written for. */
export const fixtureLimits = {
  packetBytes: 65_536,
  connectBytes: 512,
  userProperties: 3,
  topicBytes: 100,
  topicLevels: 10,
} as const;

export const refusedPackets: readonly RefusedPacket[] = [
  ...beforeVersion,
  ...beforeVersion4,
  ...connect4,
  ...connectProperties,
  ...in4,
  ...in5,
  ...clientIn4,
  ...clientIn5,
];
