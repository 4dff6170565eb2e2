/**
 * ROCA (CVE-2017-15361): one vendor's library made primes of the form k·M + (65537^a mod M), so that the modulus is a
 * power of 65537 modulo every small prime. Nemec et al., "The Return of Coppersmith's Attack", section 3.
 */

/** The odd primes to 167; a sound key passes all of them as a power of 65537 once in 2^27. */
const primes: readonly number[] = oddPrimesUpTo(167);

const residues: ReadonlyMap<number, ReadonlySet<number>> = new Map(
  primes.map((prime) => [prime, powersOf65537(prime)]),
);

export function hasRocaFingerprint(modulus: bigint): boolean {
  for (const [prime, powers] of residues) {
    if (!powers.has(Number(modulus % BigInt(prime)))) return false;
  }
  return true;
}

function oddPrimesUpTo(limit: number): number[] {
  const found: number[] = [];
  for (let n = 3; n <= limit; n += 2) if (found.every((prime) => n % prime !== 0)) found.push(n);
  return found;
}

function powersOf65537(prime: number): ReadonlySet<number> {
  const powers = new Set<number>();
  for (let power = 1; !powers.has(power); power = (power * 65_537) % prime) powers.add(power);
  return powers;
}
