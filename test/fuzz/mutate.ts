/** Changes inputs the way parsers are broken: edges of numbers, lost and doubled bytes, parts of other inputs. */
import type { Random } from '../harness/random.ts';

const edges = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x23, 0x24, 0x2b, 0x2f, 0x26, 0xc0, 0xed] as const;

export interface Materials {
  /** Inputs that have shown something new; never empty. */
  readonly corpus: readonly Buffer[];
  /** Bytes that mean something to the target. */
  readonly words: readonly Buffer[];
  readonly maxBytes: number;
}

/** One to eight changes to one of the corpus. */
export function mutated(materials: Materials, random: Random): Buffer {
  let input = random.of(materials.corpus);
  // Mostly few: many changes at once are seldom all understood.
  const changes = 1 + Math.min(random.below(8), random.below(8));
  for (let i = 0; i < changes; i += 1) input = changed(input, materials, random);
  return input.subarray(0, materials.maxBytes);
}

function changed(input: Buffer, { corpus, words }: Materials, random: Random): Buffer {
  const at = random.below(input.length + 1);
  const copy = Buffer.from(input);
  switch (random.below(9)) {
    case 0:
      if (at < copy.length) copy[at] = random.below(256);
      return copy;
    case 1:
      if (at < copy.length) copy[at] = random.of(edges);
      return copy;
    case 2:
      if (at < copy.length) copy[at] = copy.readUInt8(at) ^ (1 << random.below(8));
      return copy;
    case 3:
      if (at < copy.length) copy[at] = (copy.readUInt8(at) + random.below(33) + 240) & 0xff;
      return copy;
    case 4:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + random.below(6))]);
    case 5: {
      const length = 1 + random.below(16);
      return Buffer.concat([
        copy.subarray(0, at),
        copy.subarray(at, at + length),
        copy.subarray(at),
      ]);
    }
    case 6: {
      const other = random.of(corpus);
      return Buffer.concat([copy.subarray(0, at), other.subarray(random.below(other.length + 1))]);
    }
    case 7: {
      const word = words.length === 0 ? Buffer.of(random.of(edges)) : random.of(words);
      const after = random.below(2) === 0 ? at : at + word.length;
      return Buffer.concat([copy.subarray(0, at), word, copy.subarray(after)]);
    }
    default:
      return repaired(copy, at);
  }
}

/** Makes a byte the number of bytes behind it, so that a change reaches the fields behind a length. */
function repaired(copy: Buffer, at: number): Buffer {
  const rest = copy.length - at - 1;
  if (rest >= 0 && rest < 128) copy[at] = rest;
  return copy;
}
