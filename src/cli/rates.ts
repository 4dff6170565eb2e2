/** Rate windows as they are written in the configuration. */
import type { RateWindow } from '../common/base/rate-window.ts';

const units: readonly (readonly [name: string, ms: number])[] = [
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['day', 86_400_000],
];

/** `5/s burst 10, 1000/h burst 0`; `no limit` for none. */
export function formatRates(windows: readonly RateWindow[]): string {
  if (windows.length === 0) return 'no limit';
  return windows
    .map(({ limit, perMs, burst }) => {
      const unit = units.find(([, ms]) => ms === perMs)?.[0] ?? `${perMs} ms`;
      return `${limit}/${unit} burst ${burst}`;
    })
    .join(', ');
}
