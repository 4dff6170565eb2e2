/** A reading that ends with the time at which it was sent, by a clock that all processes of the machine share. */

const digits = 16;
const tail = '"}';

function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** A payload with room for the time. */
export function stampBytes(): Buffer {
  return Buffer.from(`{"temperature":22.5,"sent":"${'0'.repeat(digits)}${tail}`);
}

/** A copy of a packet that ends with such a payload, with the time in it. */
export function stamped(packet: Buffer): Buffer {
  const copy = Buffer.from(packet);
  const at = copy.length - tail.length - digits;
  copy.write(String(nowUs()).padStart(digits, '0'), at, 'latin1');
  return copy;
}

/** Milliseconds since the packet that ends at `end` was sent. */
export function ageMs(bytes: Buffer, end: number): number {
  const at = end - tail.length;
  return (nowUs() - Number(bytes.toString('latin1', at - digits, at))) / 1_000;
}
