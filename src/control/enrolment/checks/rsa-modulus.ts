/** Moduli that can be factored, because whoever made them did not choose two primes at random. */
import { hasRocaFingerprint } from './roca.ts';

/** Rounds of Fermat's method; badly made primes are found in the first few (CVE-2022-26320). */
const fermatRounds = 100;
const trialPrimes: readonly bigint[] = primesUpTo(2_000);
/** The last four bits of a square. */
const squareEnds: ReadonlySet<bigint> = new Set([0n, 1n, 4n, 9n]);

/** What is wrong with it, in words; undefined when nothing is found. */
export function modulusWeakness(modulus: bigint): string | undefined {
  const factor = trialPrimes.find((prime) => modulus % prime === 0n);
  if (factor !== undefined) return `its modulus is divisible by ${factor}`;
  if (hasRocaFingerprint(modulus)) return 'it comes from a broken generator (ROCA, CVE-2017-15361)';
  if (hasClosePrimes(modulus)) return 'its primes are too close to each other (CVE-2022-26320)';
  return undefined;
}

/** Fermat: n = a² − b² where a is just above the root of n when the primes are near each other. */
function hasClosePrimes(modulus: bigint): boolean {
  let a = squareRoot(modulus);
  if (a * a === modulus) return true;
  for (let round = 0; round < fermatRounds; round += 1) {
    a += 1n;
    const square = a * a - modulus;
    if (squareEnds.has(square & 15n) && squareRoot(square) ** 2n === square) return true;
  }
  return false;
}

/** The whole part, by Newton's method from above. */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let guess = 1n << BigInt((value.toString(16).length * 4 + 1) >> 1);
  for (;;) {
    const next = (guess + value / guess) >> 1n;
    if (next >= guess) return guess;
    guess = next;
  }
}

function primesUpTo(limit: number): readonly bigint[] {
  const found: number[] = [];
  for (let n = 2; n <= limit; n += 1) if (found.every((prime) => n % prime !== 0)) found.push(n);
  return found.map(BigInt);
}
