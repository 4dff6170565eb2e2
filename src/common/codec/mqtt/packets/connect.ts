/** CONNECT: MQTT 5.0 §3.1, MQTT 3.1.1 §3.1. */
import type { Cursor } from '../cursor.ts';
import type { DecodeContext } from '../decode-context.ts';
import {
  noProperties,
  type Connect,
  type ConnectProperties,
  type ProtocolVersion,
  type QoS,
  type Will,
} from '../packets.ts';
import { connectTable, decodeProperties, encodeProperties, willTable } from '../properties.ts';
import { malformed, MqttProtocolError, violation } from '../protocol-error.ts';
import { ReasonCode } from '../reason-codes.ts';
import { readTopicName } from '../topic-fields.ts';
import type { Writer } from '../writer.ts';

const flag = {
  reserved: 0x01,
  cleanStart: 0x02,
  will: 0x04,
  willRetain: 0x20,
  password: 0x40,
  userName: 0x80,
} as const;
const willQosShift = 3;

/** Protocol Name with its length: bytes 0–5 of the body; byte 6 is the version. */
const protocolName = Buffer.from('\0\u0004MQTT', 'latin1');

/** The version that the body of a CONNECT starts with, if so much of it is there and it is one of ours. */
export function peekVersion(body: Buffer): ProtocolVersion | undefined {
  const version = body[protocolName.length];
  if (version !== 4 && version !== 5) return undefined;
  return body.subarray(0, protocolName.length).equals(protocolName) ? version : undefined;
}

function readVersion(cursor: Cursor, context: DecodeContext): ProtocolVersion {
  const name = cursor.binary();
  const version = cursor.u8();
  // MQTT 3.1 knows CONNACK as 3.1.1 does, return code 1 included; what MQTT 5 says it would take for garbage.
  if (version < 4) context.claimedVersion = 4;
  if (!name.equals(protocolName.subarray(2))) {
    throw new MqttProtocolError(
      ReasonCode.unsupportedProtocolVersion,
      'The protocol name is not MQTT.',
      'MQTT-3.1.2-1',
    );
  }
  if (version !== 4 && version !== 5) {
    throw new MqttProtocolError(
      ReasonCode.unsupportedProtocolVersion,
      `Protocol version ${version} is not supported.`,
      'MQTT-3.1.2-2',
    );
  }
  return version;
}

function willQosOf(flags: number): QoS {
  const qos = (flags >>> willQosShift) & 3;
  if (qos === 3) throw malformed('Will QoS is 3.', 'MQTT-3.1.2-12');
  // Two bits without 3 leave 0, 1 and 2.
  return qos as QoS;
}

function checkFlags(flags: number, version: ProtocolVersion): void {
  if ((flags & flag.reserved) !== 0) {
    throw malformed('The reserved flag of CONNECT is set.', 'MQTT-3.1.2-3');
  }
  const willQos = willQosOf(flags);
  if ((flags & flag.will) === 0) {
    if (willQos !== 0) throw malformed('Will QoS without a will.', 'MQTT-3.1.2-11');
    if ((flags & flag.willRetain) !== 0) {
      throw malformed('Will Retain without a will.', 'MQTT-3.1.2-13');
    }
  }
  if (version === 4 && (flags & flag.userName) === 0 && (flags & flag.password) !== 0) {
    throw malformed('A password without a user name.', 'MQTT-3.1.2-22');
  }
}

function readConnectProperties(cursor: Cursor, context: DecodeContext): ConnectProperties {
  const properties = decodeProperties(cursor, connectTable, context);
  if (
    properties.authenticationData !== undefined &&
    properties.authenticationMethod === undefined
  ) {
    throw violation('Authentication data without a method.');
  }
  return properties;
}

function readWill(
  cursor: Cursor,
  context: DecodeContext,
  flags: number,
  version: ProtocolVersion,
): Will {
  const properties = version === 5 ? decodeProperties(cursor, willTable, context) : noProperties;
  const { topicNameInvalid } = ReasonCode;
  return {
    topic: readTopicName(cursor, context.limits, topicNameInvalid, 'MQTT-4.7.0-1'),
    payload: cursor.binary(),
    qos: willQosOf(flags),
    retain: (flags & flag.willRetain) !== 0,
    properties,
  };
}

/** @throws MqttProtocolError 0x81, 0x82, 0x84, 0x90, 0x97 */
export function decodeConnect(cursor: Cursor, context: DecodeContext): Connect {
  const version = readVersion(cursor, context);
  context.claimedVersion = version;
  const flags = cursor.u8();
  checkFlags(flags, version);
  // In the order of the bytes, as object literals evaluate their fields in order.
  return {
    type: 'connect',
    version,
    cleanStart: (flags & flag.cleanStart) !== 0,
    keepAlive: cursor.u16(),
    properties: version === 5 ? readConnectProperties(cursor, context) : noProperties,
    clientId: cursor.utf8(),
    will: (flags & flag.will) === 0 ? undefined : readWill(cursor, context, flags, version),
    userName: (flags & flag.userName) === 0 ? undefined : cursor.utf8(),
    password: (flags & flag.password) === 0 ? undefined : cursor.binary(),
  };
}

function flagsOf(packet: Connect): number {
  const { will } = packet;
  let flags = packet.cleanStart ? flag.cleanStart : 0;
  if (will !== undefined) flags |= flag.will | (will.qos << willQosShift);
  if (will?.retain === true) flags |= flag.willRetain;
  if (packet.userName !== undefined) flags |= flag.userName;
  if (packet.password !== undefined) flags |= flag.password;
  return flags;
}

export function encodeConnect(packet: Connect, writer: Writer): void {
  const { version, will } = packet;
  writer.utf8('MQTT');
  writer.u8(version);
  writer.u8(flagsOf(packet));
  writer.u16(packet.keepAlive);
  if (version === 5) encodeProperties(writer, connectTable, packet.properties);
  writer.utf8(packet.clientId);
  if (will !== undefined) {
    if (version === 5) encodeProperties(writer, willTable, will.properties);
    writer.utf8(will.topic);
    writer.binary(will.payload);
  }
  if (packet.userName !== undefined) writer.utf8(packet.userName);
  if (packet.password !== undefined) writer.binary(packet.password);
}
