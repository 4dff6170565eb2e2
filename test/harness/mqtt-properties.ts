/** MQTT 5 properties byte by byte (§2.2.2), like mqtt-bytes.ts without the gateway's own codec. */
import { binaryAt, text, u16, u32, varint, varintAt } from './mqtt-fields.ts';

type Kind = 'byte' | 'u16' | 'u32' | 'varint' | 'text' | 'binary' | 'pair';

/** §2.2.2.2. */
const rows = {
  payloadFormatIndicator: [0x01, 'byte'],
  messageExpiryInterval: [0x02, 'u32'],
  contentType: [0x03, 'text'],
  responseTopic: [0x08, 'text'],
  correlationData: [0x09, 'binary'],
  subscriptionIdentifier: [0x0b, 'varint'],
  sessionExpiryInterval: [0x11, 'u32'],
  assignedClientIdentifier: [0x12, 'text'],
  serverKeepAlive: [0x13, 'u16'],
  authenticationMethod: [0x15, 'text'],
  authenticationData: [0x16, 'binary'],
  requestProblemInformation: [0x17, 'byte'],
  willDelayInterval: [0x18, 'u32'],
  requestResponseInformation: [0x19, 'byte'],
  responseInformation: [0x1a, 'text'],
  serverReference: [0x1c, 'text'],
  reasonString: [0x1f, 'text'],
  receiveMaximum: [0x21, 'u16'],
  topicAliasMaximum: [0x22, 'u16'],
  topicAlias: [0x23, 'u16'],
  maximumQoS: [0x24, 'byte'],
  retainAvailable: [0x25, 'byte'],
  userProperty: [0x26, 'pair'],
  maximumPacketSize: [0x27, 'u32'],
  wildcardSubscriptionAvailable: [0x28, 'byte'],
  subscriptionIdentifiersAvailable: [0x29, 'byte'],
  sharedSubscriptionAvailable: [0x2a, 'byte'],
} as const satisfies Record<string, readonly [number, Kind]>;

export type PropertyName = keyof typeof rows;
type PropertyValue = number | string | Buffer | readonly [string | Buffer, string | Buffer];

/** In the order in which they are on the wire. */
export type Property = readonly [name: PropertyName, value: PropertyValue];

/** With their length before them. */
export function encodeProperties(list: readonly Property[]): Buffer {
  const bytes = Buffer.concat(
    list.map(([name, value]) => {
      const [id, kind] = rows[name];
      return Buffer.concat([varint(id), encodeValue(kind, value)]);
    }),
  );
  return Buffer.concat([varint(bytes.length), bytes]);
}

/** The list that starts at `at`, and where it ends. @throws Error for what is no property list. */
export function decodeProperties(
  body: Buffer,
  at: number,
): { readonly properties: readonly Property[]; readonly end: number } {
  const length = varintAt(body, at);
  const end = length.end + length.value;
  const properties: Property[] = [];
  let position = length.end;
  while (position < end) {
    const id = varintAt(body, position);
    const name = nameOf(id.value);
    const decoded = decodeValue(rows[name][1], body, id.end);
    properties.push([name, decoded.value]);
    position = decoded.end;
  }
  if (position !== end) throw new Error('a property goes on after the end of its list');
  return { properties, end };
}

/** The values of all properties of that name. */
export function valuesOf(properties: readonly Property[], name: PropertyName): unknown[] {
  return properties.filter(([each]) => each === name).map(([, value]) => value);
}

function nameOf(id: number): PropertyName {
  for (const [name, row] of Object.entries(rows)) {
    // The keys of `rows` are all there are.
    if (row[0] === id) return name as PropertyName;
  }
  throw new Error(`there is no property 0x${id.toString(16)}`);
}

function encodeValue(kind: Kind, value: PropertyValue): Buffer {
  switch (kind) {
    case 'byte':
      return Buffer.of(Number(value));
    case 'u16':
      return u16(Number(value));
    case 'u32':
      return u32(Number(value));
    case 'varint':
      return varint(Number(value));
    case 'text':
    case 'binary':
      if (typeof value !== 'string' && !Buffer.isBuffer(value)) break;
      return text(value);
    case 'pair':
      if (typeof value !== 'object' || Buffer.isBuffer(value)) break;
      return Buffer.concat([text(value[0]), text(value[1])]);
  }
  throw new TypeError(`not a value for ${kind}`);
}

function decodeValue(
  kind: Kind,
  body: Buffer,
  at: number,
): { readonly value: PropertyValue; readonly end: number } {
  switch (kind) {
    case 'byte':
      return { value: body.readUInt8(at), end: at + 1 };
    case 'u16':
      return { value: body.readUInt16BE(at), end: at + 2 };
    case 'u32':
      return { value: body.readUInt32BE(at), end: at + 4 };
    case 'varint':
      return varintAt(body, at);
    case 'text': {
      const { value, end } = binaryAt(body, at);
      return { value: value.toString('utf8'), end };
    }
    case 'binary':
      return binaryAt(body, at);
    case 'pair': {
      const name = binaryAt(body, at);
      const value = binaryAt(body, name.end);
      return { value: [name.value.toString('utf8'), value.value.toString('utf8')], end: value.end };
    }
  }
}
