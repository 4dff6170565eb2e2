/** Topic names and filters as fields of a packet: checked and bounded while they are read. */
import type { Cursor } from './cursor.ts';
import type { DecodeContext, DecoderLimits } from './decode-context.ts';
import { MqttProtocolError } from './protocol-error.ts';
import { ReasonCode } from './reason-codes.ts';
import {
  countLevels,
  isShared,
  isValidTopicFilter,
  isValidTopicName,
  parseShared,
  scanAsciiTopicName,
} from './topics.ts';
import { equalsAscii, readUtf8 } from './utf8.ts';

function refuseName(message: string, statement = ''): never {
  throw new MqttProtocolError(ReasonCode.topicNameInvalid, message, statement);
}

function refuseFilter(message: string, statement = ''): never {
  throw new MqttProtocolError(ReasonCode.topicFilterInvalid, message, statement);
}

function checkLevels(levels: number, limits: DecoderLimits): void {
  if (levels > limits.topicLevels) refuseName('A topic name has too many levels.');
}

/** Reads the topic name of a PUBLISH; may be empty, which an alias can make up for. @throws 0x81, 0x90 */
export function readPublishTopic(cursor: Cursor, context: DecodeContext): string {
  const { buffer } = cursor;
  const length = cursor.u16();
  const start = cursor.take(length);
  const end = start + length;
  if (length === 0) return '';
  if (equalsAscii(context.lastTopic, buffer, start, end)) return context.lastTopic;

  const { limits } = context;
  if (length > limits.topicBytes) refuseName('A topic name is too long.');
  const levels = scanAsciiTopicName(buffer, start, end);
  if (levels > 0) {
    checkLevels(levels, limits);
    const topic = buffer.toString('latin1', start, end);
    // Only ASCII may stand here: `equalsAscii` would take the byte 0xE9 for the character U+00E9.
    context.lastTopic = topic;
    return topic;
  }
  const topic = readUtf8(buffer, start, end);
  if (!isValidTopicName(topic)) refuseName('A topic name has a wildcard.', 'MQTT-3.3.2-2');
  checkLevels(countLevels(topic), limits);
  return topic;
}

/** Reads a topic name that must be there, with the reason code that its field calls for. @throws 0x81, `reasonCode` */
export function readTopicName(
  cursor: Cursor,
  limits: DecoderLimits,
  reasonCode: number,
  statement: string,
): string {
  const topic = cursor.utf8();
  if (topic.length === 0) {
    throw new MqttProtocolError(reasonCode, 'A topic name is empty.', 'MQTT-4.7.3-1');
  }
  if (!isValidTopicName(topic)) {
    throw new MqttProtocolError(reasonCode, 'A topic name has a wildcard.', statement);
  }
  if (Buffer.byteLength(topic) > limits.topicBytes || countLevels(topic) > limits.topicLevels) {
    throw new MqttProtocolError(reasonCode, 'A topic name is too long or has too many levels.');
  }
  return topic;
}

/** Reads a topic filter; in MQTT 5 a `$share/` one must be well-formed too. @throws 0x81, 0x8F */
export function readTopicFilter(cursor: Cursor, context: DecodeContext): string {
  const { limits } = context;
  const filter = cursor.utf8();
  if (filter.length === 0) refuseFilter('A topic filter is empty.', 'MQTT-4.7.3-1');
  if (!isValidTopicFilter(filter)) {
    refuseFilter('A topic filter has a misplaced wildcard.', 'MQTT-4.7.1-1');
  }
  if (context.version === 5 && isShared(filter) && parseShared(filter) === undefined) {
    refuseFilter('A shared subscription names no group or no filter.', 'MQTT-4.8.2-2');
  }
  if (Buffer.byteLength(filter) > limits.topicBytes || countLevels(filter) > limits.topicLevels) {
    refuseFilter('A topic filter is too long or has too many levels.');
  }
  return filter;
}
