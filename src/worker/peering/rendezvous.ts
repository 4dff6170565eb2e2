/**
 * Which worker is an identity's home: the one for which a hash of both is highest (Thaler, Ravishankar 1998). When a
 * worker comes or goes, only the identities that it gains or loses move.
 */

/** undefined when there is nobody. All workers MUST compute this alike. */
export function homeOf(principal: string, slots: readonly number[]): number | undefined {
  if (slots.length < 2) return slots[0];
  const name = fnv1a(principal);
  let home: number | undefined;
  let highest = -1;
  for (const slot of slots) {
    const weight = mix(name ^ Math.imul(slot + 1, 0x9e37_79b1));
    if (weight < highest || (weight === highest && home !== undefined && home < slot)) continue;
    highest = weight;
    home = slot;
  }
  return home;
}

function fnv1a(text: string): number {
  let hash = 0x811c_9dc5;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x0100_0193);
  }
  return hash;
}

/** The finaliser of MurmurHash3: every bit of the input moves every bit of the output. */
function mix(input: number): number {
  let hash = input;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
