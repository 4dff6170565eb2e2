/** MQTT packets out of a stream, without looking into them: a load client must cost less than what it measures. */

const maxLengthBytes = 4;

export class FrameReader {
  readonly #onFrame: (bytes: Buffer, start: number, body: number, end: number) => void;
  #rest: Buffer | undefined;

  /** @param onFrame gets a packet's place in `bytes`, which is lent until it returns. */
  constructor(onFrame: (bytes: Buffer, start: number, body: number, end: number) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    for (;;) {
      const body = bodyAt(bytes, start);
      if (body === undefined) break;
      const end = body + remainingLength(bytes, start, body);
      if (end > bytes.length) break;
      this.#onFrame(bytes, start, body, end);
      start = end;
    }
    // A copy: a slice would keep the read buffer of every idle session.
    this.#rest = start === bytes.length ? undefined : Buffer.from(bytes.subarray(start));
  }
}

/** Where the fixed header (MQTT 5 §2.1) ends; undefined when it is not all there. */
function bodyAt(bytes: Buffer, start: number): number | undefined {
  for (let at = start + 1; at < bytes.length; at += 1) {
    if (((bytes[at] ?? 0) & 0x80) === 0) return at + 1;
    if (at - start >= maxLengthBytes) throw new Error('not MQTT');
  }
  return undefined;
}

/** MQTT 5 §1.5.5. */
function remainingLength(bytes: Buffer, start: number, body: number): number {
  let length = 0;
  for (let at = body - 1; at > start; at -= 1) length = length * 128 + ((bytes[at] ?? 0) & 0x7f);
  return length;
}

/** Control packet types (MQTT 5 §2.1.2) in the upper half of a packet's first byte. */
export const packetType = {
  connack: 2,
  publish: 3,
  puback: 4,
  suback: 9,
  disconnect: 14,
} as const;
