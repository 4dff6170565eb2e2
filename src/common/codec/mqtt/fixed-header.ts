/** First byte of every packet: type and flags, MQTT 5.0 §2.1.2 and §2.1.3. */
import type { DecodeContext, Role } from './decode-context.ts';
import type { Packet, ProtocolVersion } from './packets.ts';
import { malformed, violation, type MqttProtocolError } from './protocol-error.ts';

export type PacketType = Packet['type'];

interface PacketRow {
  readonly type: PacketType;
  readonly sender: Role | 'both';
  /** Undefined: they carry information, which is PUBLISH only. */
  readonly flags: number | undefined;
}

/** By packet type number, less one: 0 is forbidden. */
const rows = [
  { type: 'connect', sender: 'client', flags: 0 },
  { type: 'connack', sender: 'server', flags: 0 },
  { type: 'publish', sender: 'both', flags: undefined },
  { type: 'puback', sender: 'both', flags: 0 },
  { type: 'pubrec', sender: 'both', flags: 0 },
  { type: 'pubrel', sender: 'both', flags: 2 },
  { type: 'pubcomp', sender: 'both', flags: 0 },
  { type: 'subscribe', sender: 'client', flags: 2 },
  { type: 'suback', sender: 'server', flags: 0 },
  { type: 'unsubscribe', sender: 'client', flags: 2 },
  { type: 'unsuback', sender: 'server', flags: 0 },
  { type: 'pingreq', sender: 'client', flags: 0 },
  { type: 'pingresp', sender: 'server', flags: 0 },
  { type: 'disconnect', sender: 'both', flags: 0 },
  { type: 'auth', sender: 'both', flags: 0 },
] as const satisfies readonly PacketRow[];

/** Statements that name the reserved flags of their packet apart from [MQTT-2.1.3-1]. */
const flagStatements: { readonly [Type in PacketType]?: string } = {
  pubrel: 'MQTT-3.6.1-1',
  subscribe: 'MQTT-3.8.1-1',
  unsubscribe: 'MQTT-3.10.1-1',
  disconnect: 'MQTT-3.14.1-1',
  auth: 'MQTT-3.15.1-1',
};

export function packetTypeOf(firstByte: number): PacketType {
  const row = rows[(firstByte >>> 4) - 1];
  if (row === undefined) throw reservedType();
  return row.type;
}

const firstBytes: ReadonlyMap<PacketType, number> = new Map(
  rows.map((row, index) => [row.type, ((index + 1) << 4) | (row.flags ?? 0)]),
);

/** For PUBLISH with all flags zero. */
export function firstByteOf(type: PacketType): number {
  const byte = firstBytes.get(type);
  if (byte === undefined) throw reservedType();
  return byte;
}

function reservedType(): MqttProtocolError {
  return malformed('The packet type is reserved.');
}

function checkPublishFlags(flags: number): void {
  const qos = (flags >>> 1) & 3;
  if (qos === 3) throw malformed('PUBLISH has both QoS bits set.', 'MQTT-3.3.1-4');
  if (qos === 0 && flags >= 8) throw malformed('PUBLISH of QoS 0 has DUP set.', 'MQTT-3.3.1-2');
}

function checkFlags(row: PacketRow, flags: number): void {
  if (row.flags === undefined) return checkPublishFlags(flags);
  if (flags === row.flags) return;
  throw malformed(
    `The reserved flags of ${row.type} are not as they must be.`,
    flagStatements[row.type] ?? 'MQTT-2.1.3-1',
  );
}

function checkOrder(row: PacketRow | undefined, version: ProtocolVersion | undefined): void {
  if (version === undefined && row?.type !== 'connect') {
    throw violation('The first packet is not CONNECT.', 'MQTT-3.1.0-1');
  }
  if (version !== undefined && row?.type === 'connect') {
    throw violation('A second CONNECT.', 'MQTT-3.1.0-2');
  }
}

function checkKnownIn311(row: PacketRow, role: Role): void {
  if (row.type === 'auth') throw reservedType();
  if (row.type === 'disconnect' && role === 'client') {
    throw violation('In MQTT 3.1.1 a server does not send DISCONNECT.');
  }
}

/**
 * Refuses from its first byte a packet that cannot be good whatever follows: reserved type or flags, wrong direction,
 * anything but one CONNECT first.
 *
 * @throws MqttProtocolError 0x81 or 0x82
 */
export function checkFirstByte(byte: number, context: DecodeContext): void {
  const { role, version } = context;
  const row: PacketRow | undefined = rows[(byte >>> 4) - 1];
  if (role === 'server') checkOrder(row, version);
  if (row === undefined) throw reservedType();
  if (row.sender === role) throw violation(`A ${role} does not take ${row.type}.`);
  if (version === 4) checkKnownIn311(row, role);
  checkFlags(row, byte & 0x0f);
}
