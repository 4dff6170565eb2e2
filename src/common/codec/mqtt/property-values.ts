/** Types of property values (MQTT 5.0 §2.2.2.2) with the ranges their properties allow. */
import type { Cursor } from './cursor.ts';
import type { DecodeContext } from './decode-context.ts';
import { MqttProtocolError, violation } from './protocol-error.ts';
import { ReasonCode } from './reason-codes.ts';
import { readTopicName } from './topic-fields.ts';
import type { Writer } from './writer.ts';

export interface ValueType<Value> {
  /** `name` is for messages only. @throws MqttProtocolError */
  read(cursor: Cursor, name: string, context: DecodeContext): Value;
  write(writer: Writer, value: Value): void;
}

function positive(value: number, name: string): number {
  if (value === 0) throw violation(`${name} is 0.`);
  return value;
}

function readBit(cursor: Cursor, name: string): 0 | 1 {
  const value = cursor.u8();
  if (value !== 0 && value !== 1) throw violation(`${name} is neither 0 nor 1.`);
  return value;
}

export const bit: ValueType<0 | 1> = {
  read: readBit,
  write: (writer, value) => writer.u8(value),
};

export const boolean: ValueType<boolean> = {
  read: (cursor, name) => readBit(cursor, name) === 1,
  write: (writer, value) => writer.u8(value ? 1 : 0),
};

export const twoBytes: ValueType<number> = {
  read: (cursor) => cursor.u16(),
  write: (writer, value) => writer.u16(value),
};

export const positiveTwoBytes: ValueType<number> = {
  read: (cursor, name) => positive(cursor.u16(), name),
  write: (writer, value) => writer.u16(value),
};

export const topicAlias: ValueType<number> = {
  read(cursor) {
    const alias = cursor.u16();
    if (alias !== 0) return alias;
    throw new MqttProtocolError(ReasonCode.topicAliasInvalid, 'Topic Alias is 0.', 'MQTT-3.3.2-8');
  },
  write: (writer, value) => writer.u16(value),
};

export const fourBytes: ValueType<number> = {
  read: (cursor) => cursor.u32(),
  write: (writer, value) => writer.u32(value),
};

export const positiveFourBytes: ValueType<number> = {
  read: (cursor, name) => positive(cursor.u32(), name),
  write: (writer, value) => writer.u32(value),
};

export const positiveVariable: ValueType<number> = {
  read: (cursor, name) => positive(cursor.variableByteInteger(), name),
  write: (writer, value) => writer.variableByteInteger(value),
};

export const text: ValueType<string> = {
  read: (cursor) => cursor.utf8(),
  write: (writer, value) => writer.utf8(value),
};

export const responseTopic: ValueType<string> = {
  read: (cursor, _name, context) =>
    readTopicName(cursor, context.limits, ReasonCode.protocolError, 'MQTT-3.3.2-14'),
  write: (writer, value) => writer.utf8(value),
};

export const binary: ValueType<Buffer> = {
  read: (cursor) => cursor.binary(),
  write: (writer, value) => writer.binary(value),
};
