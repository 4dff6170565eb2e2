/** Durations on the command line: `90s`, `15m`, `1h`, `7d`. */
import { printable } from '../common/base/principal.ts';
import { SallyportError } from '../common/base/errors.ts';

const unitMs: ReadonlyMap<string, number> = new Map([
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

/** @returns milliseconds. @throws SallyportError `usage`. */
export function parseDuration(text: string): number {
  const [, amount = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const ms = Number(amount) * (unitMs.get(unit) ?? 0);
  if (ms > 0) return ms;
  throw new SallyportError('usage', `"${printable(text)}" is no duration`, {
    hint: 'write it like 90s, 15m, 1h or 7d',
  });
}
