/** A reader that cannot leave the bytes it was given. */
import { byteAt } from './byte-at.ts';
import { malformed, type MqttProtocolError } from './protocol-error.ts';
import { readUtf8 } from './utf8.ts';
import { variableByteIntegerBytes } from './variable-byte-integer.ts';

/** One for all empty binary fields: a slice of length 0 would pin its read buffer for nothing. */
export const emptyBuffer: Buffer = Buffer.alloc(0);

function truncated(): MqttProtocolError {
  return malformed('A field goes past the end of its packet or property list.');
}

/** Every read moves `position` and throws MqttProtocolError 0x81 instead of passing `end`. */
export class Cursor {
  buffer: Buffer = emptyBuffer;
  /** Where the packet begins, fixed header included. */
  start = 0;
  position = 0;
  end = 0;

  attach(buffer: Buffer, position: number, end: number): void {
    this.buffer = buffer;
    this.position = position;
    this.end = end;
  }

  /** The packet from its first byte, as a slice. */
  whole(): Buffer {
    return this.buffer.subarray(this.start, this.end);
  }

  /** Lets go of the read buffer, which would otherwise live as long as the cursor. */
  detach(): void {
    this.attach(emptyBuffer, 0, 0);
  }

  get remaining(): number {
    return this.end - this.position;
  }

  /** Skips `length` bytes and returns where they start. */
  take(length: number): number {
    const start = this.position;
    if (length > this.end - start) throw truncated();
    this.position = start + length;
    return start;
  }

  u8(): number {
    return byteAt(this.buffer, this.take(1));
  }

  u16(): number {
    const at = this.take(2);
    return (byteAt(this.buffer, at) << 8) | byteAt(this.buffer, at + 1);
  }

  u32(): number {
    return this.buffer.readUInt32BE(this.take(4));
  }

  variableByteInteger(): number {
    let value = 0;
    for (let index = 0; index < variableByteIntegerBytes; index += 1) {
      const byte = this.u8();
      value |= (byte & 0x7f) << (7 * index);
      if (byte >= 0x80) continue;
      if (byte === 0 && index > 0) {
        throw malformed('A variable byte integer is longer than needed.', 'MQTT-1.5.5-1');
      }
      return value;
    }
    throw malformed('A variable byte integer has more than four bytes.');
  }

  utf8(): string {
    const length = this.u16();
    const start = this.take(length);
    return readUtf8(this.buffer, start, start + length);
  }

  /** Two-byte length and that many bytes, as a slice. */
  binary(): Buffer {
    const length = this.u16();
    const start = this.take(length);
    return length === 0 ? emptyBuffer : this.buffer.subarray(start, start + length);
  }

  /** All that is left, as a slice. */
  rest(): Buffer {
    const start = this.take(this.remaining);
    return start === this.end ? emptyBuffer : this.buffer.subarray(start, this.end);
  }
}
