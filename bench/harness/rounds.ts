/** Rounds in turn (A B A B …), so that what changes on the machine meanwhile meets all contenders alike. */

export interface Contender {
  /** One round, which does the same work as any other. @returns the figure of that round. */
  readonly round: () => Promise<number>;
}

/** The first rounds are thrown away: compilers and caches are cold in them. */
const warmUps = 1;

/** @returns the figures of each contender, in order. */
export async function alternate(
  rounds: number,
  contenders: readonly Contender[],
): Promise<number[][]> {
  const figures = contenders.map((): number[] => []);
  for (let round = -warmUps; round < rounds; round += 1) {
    for (const [i, contender] of contenders.entries()) {
      const figure = await contender.round();
      if (!Number.isFinite(figure)) throw new Error(`a round gave ${figure}`);
      if (round >= 0) figures[i]?.push(figure);
    }
  }
  return figures;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function summary(figures: readonly number[]): Summary {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  const high = sorted[Math.floor(middle)] ?? Number.NaN;
  return {
    median: (low + high) / 2,
    min: sorted[0] ?? Number.NaN,
    max: sorted.at(-1) ?? Number.NaN,
  };
}
