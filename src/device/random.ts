/** Numbers that look random and can be had again: the same seed tells the same story. No secret is made from them. */

/** Uniform in [0, 1). */
export type RandomSource = () => number;

/** Mulberry32: 32 bits of state, good enough for weather. */
export function seededRandom(seed: number): RandomSource {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The seed of a name (FNV-1a), so that each device of a fleet has a story of its own. */
export function seedOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** `ms` within a quarter of itself and `ms` on average: what keeps a fleet from beating in step. */
export function jittered(ms: number, random: RandomSource): number {
  return ms * (0.75 + random() / 2);
}
