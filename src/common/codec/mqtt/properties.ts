/** Property lists of MQTT 5.0 §2.2.2: one table of properties, and for each packet the rows that it may carry. */
import type { Cursor } from './cursor.ts';
import { senderOf, type DecodeContext, type Role } from './decode-context.ts';
import {
  noProperties,
  type Auth,
  type ConnackProperties,
  type ConnectProperties,
  type Disconnect,
  type PublishProperties,
  type Subscribe,
  type UserProperty,
  type WillProperties,
} from './packets.ts';
import { malformed, MqttProtocolError, violation } from './protocol-error.ts';
import {
  binary,
  bit,
  boolean,
  fourBytes,
  positiveFourBytes,
  positiveTwoBytes,
  positiveVariable,
  responseTopic,
  text,
  topicAlias,
  twoBytes,
  type ValueType,
} from './property-values.ts';
import { ReasonCode } from './reason-codes.ts';
import { Writer } from './writer.ts';

/** Every property that any packet may carry; the property type of each packet is a part of it. */
type PropertyBag = ConnectProperties &
  ConnackProperties &
  WillProperties &
  PublishProperties &
  Subscribe['properties'] &
  Disconnect['properties'] &
  Auth['properties'];
type Scalars = Omit<PropertyBag, 'userProperties' | 'subscriptionIdentifiers'>;
type MutableScalars = { -readonly [Name in keyof Scalars]: Scalars[Name] };
/** A bag while it is being filled. */
interface OpenBag extends MutableScalars {
  userProperties?: UserProperty[];
  subscriptionIdentifiers?: number[];
}

/** One row: how the property with this identifier is read into a bag and written from it. */
interface Property {
  readonly id: number;
  readonly name: keyof PropertyBag;
  read(cursor: Cursor, bag: OpenBag, context: DecodeContext): void;
  write(writer: Writer, bag: PropertyBag): void;
}

function single<Name extends keyof Scalars>(
  id: number,
  name: Name,
  type: ValueType<NonNullable<Scalars[Name]>>,
): Property {
  return {
    id,
    name,
    read(cursor, bag, context) {
      if (bag[name] !== undefined) throw violation(`${name} appears twice.`);
      bag[name] = type.read(cursor, name, context);
    },
    write(writer, bag) {
      const value = bag[name];
      if (value === undefined) return;
      writer.u8(id);
      type.write(writer, value);
    },
  };
}

const userProperties: Property = {
  id: 0x26,
  name: 'userProperties',
  read(cursor, bag, context) {
    // Pairs, never an object: the peer chooses the names, and `__proto__` is one.
    const pairs = (bag.userProperties ??= []);
    if (pairs.length >= context.limits.userProperties) {
      // 0x97 and not 0x95: the packet is within the size that was announced.
      throw new MqttProtocolError(ReasonCode.quotaExceeded, 'Too many user properties.');
    }
    pairs.push([cursor.utf8(), cursor.utf8()]);
  },
  write(writer, bag) {
    for (const [name, value] of bag.userProperties ?? []) {
      writer.u8(0x26);
      writer.utf8(name);
      writer.utf8(value);
    }
  },
};

/** In PUBLISH there may be several; in SUBSCRIBE one, under a name of its own. */
const subscriptionIdentifiers: Property = {
  id: 0x0b,
  name: 'subscriptionIdentifiers',
  read(cursor, bag, context) {
    const value = positiveVariable.read(cursor, 'subscriptionIdentifier', context);
    (bag.subscriptionIdentifiers ??= []).push(value);
  },
  write(writer, bag) {
    for (const value of bag.subscriptionIdentifiers ?? []) {
      writer.u8(0x0b);
      writer.variableByteInteger(value);
    }
  },
};

const payloadFormatIndicator = single(0x01, 'payloadFormatIndicator', bit);
const messageExpiryInterval = single(0x02, 'messageExpiryInterval', fourBytes);
const contentType = single(0x03, 'contentType', text);
const responseTopicProperty = single(0x08, 'responseTopic', responseTopic);
const correlationData = single(0x09, 'correlationData', binary);
const subscriptionIdentifier = single(0x0b, 'subscriptionIdentifier', positiveVariable);
const sessionExpiryInterval = single(0x11, 'sessionExpiryInterval', fourBytes);
const assignedClientIdentifier = single(0x12, 'assignedClientIdentifier', text);
const serverKeepAlive = single(0x13, 'serverKeepAlive', twoBytes);
const authenticationMethod = single(0x15, 'authenticationMethod', text);
const authenticationData = single(0x16, 'authenticationData', binary);
const requestProblemInformation = single(0x17, 'requestProblemInformation', boolean);
const willDelayInterval = single(0x18, 'willDelayInterval', fourBytes);
const requestResponseInformation = single(0x19, 'requestResponseInformation', boolean);
const responseInformation = single(0x1a, 'responseInformation', text);
const serverReference = single(0x1c, 'serverReference', text);
const reasonString = single(0x1f, 'reasonString', text);
const receiveMaximum = single(0x21, 'receiveMaximum', positiveTwoBytes);
const topicAliasMaximum = single(0x22, 'topicAliasMaximum', twoBytes);
const topicAliasProperty = single(0x23, 'topicAlias', topicAlias);
const maximumQoS = single(0x24, 'maximumQoS', bit);
const retainAvailable = single(0x25, 'retainAvailable', boolean);
const maximumPacketSize = single(0x27, 'maximumPacketSize', positiveFourBytes);
const wildcardSubscriptionAvailable = single(0x28, 'wildcardSubscriptionAvailable', boolean);
const subscriptionIdentifiersAvailable = single(0x29, 'subscriptionIdentifiersAvailable', boolean);
const sharedSubscriptionAvailable = single(0x2a, 'sharedSubscriptionAvailable', boolean);

/** A property that only one side may put into this packet, and the statement that says so. */
interface OneSided {
  readonly property: Property;
  readonly sender: Role;
  readonly statement: string;
}

/** The properties that one packet may carry. Encoded in the order of the rows. */
export interface PropertyTable {
  readonly rows: readonly Property[];
  /** By identifier. */
  readonly byId: readonly (Property | undefined)[];
  readonly oneSided: readonly OneSided[];
}

function table(rows: readonly Property[], oneSided: readonly OneSided[] = []): PropertyTable {
  const byId: (Property | undefined)[] = Array.from({ length: 0x2b });
  for (const row of rows) byId[row.id] = row;
  return { rows, byId, oneSided };
}

const messageRows = [
  payloadFormatIndicator,
  messageExpiryInterval,
  contentType,
  responseTopicProperty,
  correlationData,
];
const reasonRows = [reasonString, userProperties];

export const connectTable = table([
  sessionExpiryInterval,
  receiveMaximum,
  maximumPacketSize,
  topicAliasMaximum,
  requestResponseInformation,
  requestProblemInformation,
  authenticationMethod,
  authenticationData,
  userProperties,
]);

export const willTable = table([willDelayInterval, ...messageRows, userProperties]);

export const connackTable = table([
  sessionExpiryInterval,
  receiveMaximum,
  maximumQoS,
  retainAvailable,
  maximumPacketSize,
  assignedClientIdentifier,
  topicAliasMaximum,
  wildcardSubscriptionAvailable,
  subscriptionIdentifiersAvailable,
  sharedSubscriptionAvailable,
  serverKeepAlive,
  responseInformation,
  serverReference,
  authenticationMethod,
  authenticationData,
  ...reasonRows,
]);

export const publishTable = table(
  [...messageRows, topicAliasProperty, subscriptionIdentifiers, userProperties],
  [{ property: subscriptionIdentifiers, sender: 'server', statement: 'MQTT-3.3.4-6' }],
);

/** PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK. */
export const reasonTable = table(reasonRows);
export const subscribeTable = table([subscriptionIdentifier, userProperties]);
export const unsubscribeTable = table([userProperties]);

export const disconnectTable = table(
  [sessionExpiryInterval, serverReference, ...reasonRows],
  [
    { property: sessionExpiryInterval, sender: 'client', statement: 'MQTT-3.14.2-2' },
    { property: serverReference, sender: 'server', statement: '' },
  ],
);

export const authTable = table([authenticationMethod, authenticationData, ...reasonRows]);

function checkSender(property: Property, context: DecodeContext, rows: PropertyTable): void {
  for (const rule of rows.oneSided) {
    if (rule.property === property && rule.sender !== senderOf(context)) {
      throw violation(`A ${senderOf(context)} may not send ${property.name} here.`, rule.statement);
    }
  }
}

/** Reads Property Length and exactly that many bytes of properties. @throws MqttProtocolError */
export function decodeProperties(
  cursor: Cursor,
  rows: PropertyTable,
  context: DecodeContext,
): PropertyBag {
  const length = cursor.variableByteInteger();
  if (length === 0) return noProperties;
  const packetEnd = cursor.end;
  const start = cursor.take(length);
  // No property can reach past the list: to the cursor, the list is all there is.
  cursor.attach(cursor.buffer, start, start + length);
  const bag: OpenBag = {};
  while (cursor.remaining > 0) {
    const id = cursor.variableByteInteger();
    const property = rows.byId[id];
    if (property === undefined) {
      throw malformed(`Property 0x${id.toString(16)} does not belong into this packet.`);
    }
    checkSender(property, context, rows);
    property.read(cursor, bag, context);
  }
  cursor.attach(cursor.buffer, cursor.position, packetEnd);
  return bag;
}

const scratch = new Writer();

/** Property Length and the properties. @throws SallyportError internal for a value MQTT cannot carry */
export function encodeProperties(writer: Writer, rows: PropertyTable, bag: PropertyBag): void {
  if (bag === noProperties) {
    writer.u8(0);
    return;
  }
  scratch.reset();
  for (const row of rows.rows) row.write(scratch, bag);
  writer.variableByteInteger(scratch.length);
  writer.append(scratch);
}

/** Whether a packet can leave its property list out. */
export function isEmpty(bag: PropertyBag): boolean {
  return bag === noProperties || Object.values(bag).every((value) => value === undefined);
}
