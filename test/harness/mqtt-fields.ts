/** The data types of MQTT packets, §1.5, written and read by hand. */

/** Variable byte integer, §1.5.5. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return Buffer.from(bytes);
}

export function u16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 0xff);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A UTF-8 string or binary data with its length, §1.5.4, §1.5.6. */
export function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u16(bytes.length), bytes]);
}

export interface Field<T> {
  readonly value: T;
  /** Where the next one starts. */
  readonly end: number;
}

/** Undefined while its last byte is not there. @throws Error when it has more than four. */
export function tryVarintAt(bytes: Buffer, at: number): Field<number> | undefined {
  let value = 0;
  for (let n = 0; n < 4; n += 1) {
    const byte = bytes[at + n];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 128 ** n;
    if ((byte & 0x80) === 0) return { value, end: at + n + 1 };
  }
  throw new Error('the gateway sent a length of more than four bytes');
}

export function varintAt(bytes: Buffer, at: number): Field<number> {
  const field = tryVarintAt(bytes, at);
  if (field === undefined) throw new Error('a packet of the gateway ends inside a length');
  return field;
}

export function binaryAt(bytes: Buffer, at: number): Field<Buffer> {
  const end = at + 2 + bytes.readUInt16BE(at);
  if (end > bytes.length) throw new Error('a packet of the gateway ends inside a field');
  return { value: Buffer.from(bytes.subarray(at + 2, end)), end };
}
