/** Packets by hand, after the figures of MQTT 5.0 and MQTT 3.1.1 chapter 3; no code of ours has made them. */
import type { Role } from '../../../src/common/codec/mqtt/decoder.ts';
import type { Packet, ProtocolVersion } from '../../../src/common/codec/mqtt/packets.ts';
import { bytes } from './notation.ts';

export interface ValidPacket {
  readonly name: string;
  readonly version: ProtocolVersion;
  /** Who sends it; both when either may. */
  readonly senders: readonly Role[];
  readonly bytes: Buffer;
  readonly packet: Packet;
  /** False when the standard allows a shorter form, which our encoder prefers, or another order of properties. */
  readonly canonical: boolean;
}

type Sender = Role | 'both';

function row(
  version: ProtocolVersion,
  sender: Sender,
  name: string,
  notation: string,
  packet: Packet,
  canonical = true,
): ValidPacket {
  const senders: readonly Role[] = sender === 'both' ? ['client', 'server'] : [sender];
  return {
    name: `${name}, ${version === 5 ? '5.0' : '3.1.1'}`,
    version,
    senders,
    bytes: bytes(notation),
    packet,
    canonical,
  };
}

const none = {};
const plainConnect = {
  type: 'connect',
  cleanStart: true,
  keepAlive: 60,
  clientId: 'd1',
  will: undefined,
  userName: undefined,
  password: undefined,
  properties: none,
} as const;
const plainPublish = {
  type: 'publish',
  dup: false,
  qos: 0,
  retain: false,
  topic: 'a/b',
  packetId: 0,
  payload: Buffer.from('hi'),
  properties: none,
} as const;
const plainSubscription = {
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
} as const;

const connects: readonly ValidPacket[] = [
  row(4, 'client', 'CONNECT', "10 0e 0004 'MQTT' 04 02 003c 0002 'd1'", {
    ...plainConnect,
    version: 4,
  }),
  row(5, 'client', 'CONNECT', "10 0f 0004 'MQTT' 05 02 003c 00 0002 'd1'", {
    ...plainConnect,
    version: 5,
  }),
  row(5, 'client', 'CONNECT without client id', "10 0d 0004 'MQTT' 05 00 0000 00 0000", {
    ...plainConnect,
    version: 5,
    cleanStart: false,
    keepAlive: 0,
    clientId: '',
  }),
  row(
    4,
    'client',
    'CONNECT with will, user name and password',
    "10 1c 0004 'MQTT' 04 ee 000a 0002 'd1' 0001 'w' 0002 'by' 0001 'u' 0002 00ff",
    {
      ...plainConnect,
      version: 4,
      keepAlive: 10,
      will: { topic: 'w', payload: Buffer.from('by'), qos: 1, retain: true, properties: none },
      userName: 'u',
      password: Buffer.from([0, 255]),
    },
  ),
  row(
    5,
    'client',
    'CONNECT with password and no user name',
    "10 12 0004 'MQTT' 05 42 003c 00 0002 'd1' 0001 'p'",
    { ...plainConnect, version: 5, password: Buffer.from('p') },
  ),
  row(
    5,
    'client',
    'CONNECT with every property',
    `10 3b 0004 'MQTT' 05 02 003c
     2c 11 00000e10 21 000a 27 00010000 22 0005 19 01 17 00 15 0001 'm' 16 0002 0102
     26 0009 '__proto__' 0001 'x' 0002 'd1'`,
    {
      ...plainConnect,
      version: 5,
      properties: {
        sessionExpiryInterval: 3600,
        receiveMaximum: 10,
        maximumPacketSize: 65_536,
        topicAliasMaximum: 5,
        requestResponseInformation: true,
        requestProblemInformation: false,
        authenticationMethod: 'm',
        authenticationData: Buffer.from([1, 2]),
        userProperties: [['__proto__', 'x']],
      },
    },
  ),
  row(
    5,
    'client',
    'CONNECT with will properties',
    `10 41 0004 'MQTT' 05 16 003c 00 0002 'd1'
     29 18 0000001e 01 01 02 0000003c 03 0004 'text' 08 0001 'r' 09 0001 2a
     26 0001 'k' 0001 'v' 26 0001 'k' 0001 'w'
     0001 'w' 0003 'bye'`,
    {
      ...plainConnect,
      version: 5,
      will: {
        topic: 'w',
        payload: Buffer.from('bye'),
        qos: 2,
        retain: false,
        properties: {
          willDelayInterval: 30,
          payloadFormatIndicator: 1,
          messageExpiryInterval: 60,
          contentType: 'text',
          responseTopic: 'r',
          correlationData: Buffer.from('*'),
          userProperties: [
            ['k', 'v'],
            ['k', 'w'],
          ],
        },
      },
    },
  ),
];

const connacks: readonly ValidPacket[] = [
  row(4, 'server', 'CONNACK', '20 02 01 00', {
    type: 'connack',
    sessionPresent: true,
    reasonCode: 0,
    properties: none,
  }),
  row(4, 'server', 'CONNACK that refuses', '20 02 00 05', {
    type: 'connack',
    sessionPresent: false,
    reasonCode: 5,
    properties: none,
  }),
  row(5, 'server', 'CONNACK', '20 03 00 00 00', {
    type: 'connack',
    sessionPresent: false,
    reasonCode: 0,
    properties: none,
  }),
  row(
    5,
    'server',
    'CONNACK with every property',
    `20 43 00 00
     40 11 00000001 21 0014 24 01 25 00 27 00001000 12 0002 'id' 22 0008 28 00 29 01 2a 00
     13 0078 1a 0002 'ri' 1c 0002 'sr' 15 0001 'm' 16 0001 00 1f 0002 'ok'
     26 0001 'k' 0001 'v'`,
    {
      type: 'connack',
      sessionPresent: false,
      reasonCode: 0,
      properties: {
        sessionExpiryInterval: 1,
        receiveMaximum: 20,
        maximumQoS: 1,
        retainAvailable: false,
        maximumPacketSize: 4096,
        assignedClientIdentifier: 'id',
        topicAliasMaximum: 8,
        wildcardSubscriptionAvailable: false,
        subscriptionIdentifiersAvailable: true,
        sharedSubscriptionAvailable: false,
        serverKeepAlive: 120,
        responseInformation: 'ri',
        serverReference: 'sr',
        authenticationMethod: 'm',
        authenticationData: Buffer.from([0]),
        reasonString: 'ok',
        userProperties: [['k', 'v']],
      },
    },
  ),
];

const publishes: readonly ValidPacket[] = [
  row(4, 'both', 'PUBLISH QoS 0', "30 07 0003 'a/b' 'hi'", plainPublish),
  row(5, 'both', 'PUBLISH QoS 0', "30 08 0003 'a/b' 00 'hi'", plainPublish),
  row(4, 'both', 'PUBLISH QoS 1 again, retained', "3b 09 0003 'a/b' 000a 'hi'", {
    ...plainPublish,
    dup: true,
    qos: 1,
    retain: true,
    packetId: 10,
  }),
  row(5, 'both', 'PUBLISH QoS 2', "34 0a 0003 'a/b' ffff 00 'hi'", {
    ...plainPublish,
    qos: 2,
    packetId: 65_535,
  }),
  row(5, 'both', 'PUBLISH without payload', "31 06 0003 'a/b' 00", {
    ...plainPublish,
    retain: true,
    payload: Buffer.alloc(0),
  }),
  row(5, 'both', 'PUBLISH by topic alias', '30 06 0000 03 23 0001', {
    ...plainPublish,
    topic: '',
    payload: Buffer.alloc(0),
    properties: { topicAlias: 1 },
  }),
  row(4, 'both', 'PUBLISH to a topic with U+FEFF and U+10FFFF', '30 0b 0007 efbbbff48fbfbf 6869', {
    ...plainPublish,
    topic: '\uFEFF\u{10FFFF}',
  }),
  row(5, 'both', 'PUBLISH to $SYS//', "30 08 0005 '$SY//' 00", {
    ...plainPublish,
    topic: '$SY//',
    payload: Buffer.alloc(0),
  }),
  row(
    5,
    'both',
    'PUBLISH with every property of a message',
    `32 34 0003 'a/b' 0001
     29 01 01 02 00000e10 03 0004 'text' 08 0003 'r/1' 09 0003 000102 23 0007
     26 0001 'k' 0000 26 0000 0001 'v'
     'hi' 21`,
    {
      ...plainPublish,
      qos: 1,
      packetId: 1,
      payload: Buffer.from('hi!'),
      properties: {
        payloadFormatIndicator: 1,
        messageExpiryInterval: 3600,
        contentType: 'text',
        responseTopic: 'r/1',
        correlationData: Buffer.from([0, 1, 2]),
        topicAlias: 7,
        userProperties: [
          ['k', ''],
          ['', 'v'],
        ],
      },
    },
  ),
  row(
    5,
    'server',
    'PUBLISH with subscription identifiers',
    "30 0f 0003 'a/b' 07 0b 01 0b ffffff7f 'hi'",
    { ...plainPublish, properties: { subscriptionIdentifiers: [1, 268_435_455] } },
  ),
];

const responses: readonly ValidPacket[] = (
  [
    ['puback', '40', 0x10, '10'],
    ['pubrec', '50', 0x97, '97'],
    ['pubrel', '62', 0x92, '92'],
    ['pubcomp', '70', 0x92, '92'],
  ] as const
).flatMap(([type, first, reasonCode, code]) => {
  const success = { type, packetId: 4660, reasonCode: 0, properties: none } as const;
  const name = type.toUpperCase();
  const sender = type === 'puback' ? 'server' : 'both';
  return [
    row(4, 'both', name, `${first} 02 1234`, success),
    row(5, 'both', name, `${first} 02 1234`, success),
    row(5, 'both', `${name} of three bytes`, `${first} 03 1234 00`, success, false),
    row(5, 'both', `${name} of four bytes`, `${first} 04 1234 00 00`, success, false),
    row(5, sender, `${name} with a reason code`, `${first} 03 1234 ${code}`, {
      ...success,
      reasonCode,
    }),
    row(
      5,
      sender,
      `${name} with properties`,
      `${first} 10 1234 ${code} 0c 1f 0002 'no' 26 0001 'k' 0001 'v'`,
      {
        ...success,
        reasonCode,
        properties: { reasonString: 'no', userProperties: [['k', 'v']] },
      },
    ),
  ];
});

const subscriptions: readonly ValidPacket[] = [
  row(4, 'client', 'SUBSCRIBE', "82 0e 000a 0003 'a/b' 01 0003 'c/#' 02", {
    type: 'subscribe',
    packetId: 10,
    subscriptions: [
      { ...plainSubscription, topicFilter: 'a/b', qos: 1 },
      { ...plainSubscription, topicFilter: 'c/#', qos: 2 },
    ],
    properties: none,
  }),
  row(
    5,
    'client',
    'SUBSCRIBE',
    "82 19 000a 0a 0b 8001 26 0001 'k' 0001 'v' 0001 '#' 2c 0005 '+/a/+' 11",
    {
      type: 'subscribe',
      packetId: 10,
      subscriptions: [
        { topicFilter: '#', qos: 0, noLocal: true, retainAsPublished: true, retainHandling: 2 },
        {
          topicFilter: '+/a/+',
          qos: 1,
          noLocal: false,
          retainAsPublished: false,
          retainHandling: 1,
        },
      ],
      properties: { subscriptionIdentifier: 128, userProperties: [['k', 'v']] },
    },
  ),
  row(5, 'client', 'SUBSCRIBE shared', "82 12 0001 00 000c '$share/g/+/x' 02", {
    type: 'subscribe',
    packetId: 1,
    subscriptions: [{ ...plainSubscription, topicFilter: '$share/g/+/x', qos: 2 }],
    properties: none,
  }),
  row(4, 'client', 'SUBSCRIBE to what 5.0 would share', "82 0d 0001 0008 '$share/g' 00", {
    type: 'subscribe',
    packetId: 1,
    subscriptions: [{ ...plainSubscription, topicFilter: '$share/g', qos: 0 }],
    properties: none,
  }),
  row(4, 'server', 'SUBACK', '90 06 000a 00 01 02 80', {
    type: 'suback',
    packetId: 10,
    reasonCodes: [0, 1, 2, 0x80],
    properties: none,
  }),
  row(5, 'server', 'SUBACK', "90 0a 000a 05 1f 0002 'no' 01 87", {
    type: 'suback',
    packetId: 10,
    reasonCodes: [1, 0x87],
    properties: { reasonString: 'no' },
  }),
  row(4, 'client', 'UNSUBSCRIBE', "a2 0c 000a 0003 'a/b' 0003 'c/#'", {
    type: 'unsubscribe',
    packetId: 10,
    topicFilters: ['a/b', 'c/#'],
    properties: none,
  }),
  row(5, 'client', 'UNSUBSCRIBE', "a2 0d 000a 07 26 0001 'k' 0001 'v' 0001 '+'", {
    type: 'unsubscribe',
    packetId: 10,
    topicFilters: ['+'],
    properties: { userProperties: [['k', 'v']] },
  }),
  row(4, 'server', 'UNSUBACK', 'b0 02 000a', {
    type: 'unsuback',
    packetId: 10,
    reasonCodes: [],
    properties: none,
  }),
  row(5, 'server', 'UNSUBACK', 'b0 05 000a 00 00 11', {
    type: 'unsuback',
    packetId: 10,
    reasonCodes: [0, 0x11],
    properties: none,
  }),
];

const normalDisconnect = { type: 'disconnect', reasonCode: 0, properties: none } as const;
const rest: readonly ValidPacket[] = [
  row(4, 'client', 'PINGREQ', 'c0 00', { type: 'pingreq' }),
  row(5, 'server', 'PINGRESP', 'd0 00', { type: 'pingresp' }),
  row(4, 'client', 'DISCONNECT', 'e0 00', normalDisconnect),
  row(5, 'both', 'DISCONNECT', 'e0 00', normalDisconnect),
  row(5, 'both', 'DISCONNECT of one byte', 'e0 01 00', normalDisconnect, false),
  row(5, 'both', 'DISCONNECT of two bytes', 'e0 02 00 00', normalDisconnect, false),
  row(5, 'client', 'DISCONNECT with will', 'e0 01 04', { ...normalDisconnect, reasonCode: 4 }),
  row(5, 'client', 'DISCONNECT with expiry', 'e0 07 00 05 11 00000000', {
    ...normalDisconnect,
    properties: { sessionExpiryInterval: 0 },
  }),
  row(
    5,
    'server',
    'DISCONNECT to another server',
    "e0 13 9d 11 1c 0002 'b2' 1f 0002 'go' 26 0001 'k' 0001 'v'",
    {
      type: 'disconnect',
      reasonCode: 0x9d,
      properties: { serverReference: 'b2', reasonString: 'go', userProperties: [['k', 'v']] },
    },
  ),
  row(5, 'server', 'AUTH of no bytes', 'f0 00', {
    type: 'auth',
    reasonCode: 0,
    properties: none,
  }),
  row(5, 'client', 'AUTH again', "f0 13 19 11 15 0001 'm' 16 0001 ff 1f 0001 'r' 26 0000 0000", {
    type: 'auth',
    reasonCode: 0x19,
    properties: {
      authenticationMethod: 'm',
      authenticationData: Buffer.from([255]),
      reasonString: 'r',
      userProperties: [['', '']],
    },
  }),
];

export const validPackets: readonly ValidPacket[] = [
  ...connects,
  ...connacks,
  ...publishes,
  ...responses,
  ...subscriptions,
  ...rest,
];
