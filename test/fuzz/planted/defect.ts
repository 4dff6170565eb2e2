/** A defect behind six bytes in a row: no chance for blind luck, six steps for whoever sees which code runs. */
import type { FuzzTarget } from '../fuzz.ts';

function check(input: Buffer): void {
  if (input[0] !== 0x53) return;
  if (input[1] !== 0x41) return;
  if (input[2] !== 0x4c) return;
  if (input[3] !== 0x4c) return;
  if (input[4] !== 0x59) return;
  if (input[5] === 0x21) throw new Error('planted');
}

export const plantedDefect: FuzzTarget = {
  seeds: [Buffer.from('xxxxxxxxxxxx')],
  words: ['S', 'A', 'L', 'Y', '!'].map((letter) => Buffer.from(letter)),
  maxBytes: 32,
  check,
};
