/** The policy table: rows in the order in which they are asked, cheapest first. Every entry point is a column. */
import type { Entry } from './entry.ts';
import { entries } from './entry.ts';
import type { TableRow } from './policy.ts';
import type { Row } from './row.ts';
import { acceptRow } from './rows/accept.ts';
import { authenticationRow } from './rows/authentication.ts';
import { authorisationRow } from './rows/authorisation.ts';
import { breakerRow } from './rows/breaker.ts';
import { concurrencyRow } from './rows/concurrency.ts';
import { integrityRow } from './rows/integrity.ts';
import { rateRow } from './rows/rate.ts';
import { schemaRow } from './rows/schema.ts';
import { sizeRow } from './rows/size.ts';
import { sourceRow } from './rows/source.ts';
import { standingRow } from './rows/standing.ts';

export const rows: readonly Row[] = Object.freeze([
  sourceRow,
  authenticationRow,
  standingRow,
  rateRow,
  concurrencyRow,
  breakerRow,
  sizeRow,
  authorisationRow,
  integrityRow,
  schemaRow,
  acceptRow,
]);

export function tableRows(): TableRow[] {
  return rows.map(({ name, codes, cells }) => ({
    row: name,
    codes,
    // One key per entry, by construction.
    cells: Object.fromEntries(entries.map((entry) => [entry, cells[entry]?.says])) as Record<
      Entry,
      string | undefined
    >,
  }));
}
