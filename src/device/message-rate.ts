/** How often a device sends: `1/5s`, `2/s`, `10/m`. */

const unitMs: ReadonlyMap<string, number> = new Map([
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** One device that sends more than this is a load generator, which has needs of its own. */
const maxPerSecond = 100;
const longestIntervalMs = 24 * 3_600_000;

/**
 * @returns milliseconds from one message to the next; undefined when the text is no rate, or one above 100 a second or
 *   below one a day.
 */
export function intervalOfRate(text: string): number | undefined {
  const [, count = '', amount, unit = ''] = /^(\d{1,6})\/(?:(\d{1,6}))?([smh])$/.exec(text) ?? [];
  const windowMs = Number(amount ?? '1') * (unitMs.get(unit) ?? 0);
  const intervalMs = windowMs / Number(count);
  return intervalMs >= 1_000 / maxPerSecond && intervalMs <= longestIntervalMs
    ? intervalMs
    : undefined;
}
