/** Variable Byte Integer of MQTT 5.0 §1.5.5: seven bits a byte, least significant first, at most four bytes. */
import { byteAt } from './byte-at.ts';

export const maximumVariableByteInteger = 268_435_455;
export const variableByteIntegerBytes = 4;

/** Bytes that `value` takes; `value` is 0–268,435,455. */
export function sizeOfVariableByteInteger(value: number): 1 | 2 | 3 | 4 {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  return value < 0x20_0000 ? 3 : 4;
}

/** Writes `value` (0–268,435,455) and returns the position after it; the buffer has room. */
export function writeVariableByteInteger(buffer: Buffer, position: number, value: number): number {
  let rest = value;
  let next = position;
  while (rest >= 0x80) {
    buffer[next] = (rest & 0x7f) | 0x80;
    next += 1;
    rest >>>= 7;
  }
  buffer[next] = rest;
  return next + 1;
}

/** Reads what `writeVariableByteInteger` has written; for bytes of a peer there is `Cursor`. */
export function readVariableByteInteger(
  buffer: Buffer,
  position: number,
): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let index = 0; index < variableByteIntegerBytes; index += 1) {
    const byte = byteAt(buffer, position + index);
    value |= (byte & 0x7f) << (7 * index);
    if (byte < 0x80) return { value, end: position + index + 1 };
  }
  return { value, end: position + variableByteIntegerBytes };
}
