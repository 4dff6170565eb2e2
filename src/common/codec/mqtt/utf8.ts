/** UTF-8 Encoded String of MQTT 5.0 §1.5.4, without its length. */
import { isUtf8 } from 'node:buffer';
import { byteAt } from './byte-at.ts';
import { malformed } from './protocol-error.ts';

/**
 * Strict: overlong forms, surrogates and truncated sequences are malformed, and so is U+0000. U+FEFF stays where it is
 * [MQTT-1.5.4-3]. Other control characters and non-characters are allowed, as §1.5.4 leaves it to the receiver.
 *
 * @throws MqttProtocolError 0x81
 */
export function readUtf8(buffer: Buffer, start: number, end: number): string {
  let position = start;
  while (position < end) {
    const byte = byteAt(buffer, position);
    if (byte === 0 || byte >= 0x80) break;
    position += 1;
  }
  if (position === end) return buffer.toString('latin1', start, end);
  if (!isUtf8(buffer.subarray(start, end))) {
    throw malformed('A string is not well-formed UTF-8.', 'MQTT-1.5.4-1');
  }
  // Not TextDecoder, which drops a leading U+FEFF.
  const text = buffer.toString('utf8', start, end);
  if (text.includes('\0')) throw malformed('A string contains U+0000.', 'MQTT-1.5.4-2');
  return text;
}

/** Whether `text`, known to be ASCII, has exactly these bytes. */
export function equalsAscii(text: string, buffer: Buffer, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let index = 0; index < text.length; index += 1) {
    if (text.charCodeAt(index) !== buffer[start + index]) return false;
  }
  return true;
}
