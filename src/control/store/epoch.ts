/** The number of this life of control: greater than every earlier one on the same data directory. */
import type { DatabaseSync } from 'node:sqlite';

export function nextEpoch(database: DatabaseSync): number {
  const row = database
    .prepare(
      'INSERT INTO epoch (id, value) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET value = value + 1 RETURNING value',
    )
    .get();
  return Number(row?.['value']);
}
