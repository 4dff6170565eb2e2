/** What an operator sees of a spool: `route list`, `route dead-letters`. */
import type { Gateway } from './gateway.ts';
import { until } from './waiting.ts';

export interface SpoolRow {
  readonly route: string;
  readonly backend: string;
  readonly waiting: number;
  readonly bytes: number;
  readonly inFlight: number;
  readonly deadLetters: number;
  readonly breakersOpen: number;
}

export interface DeadLetterRow {
  readonly id: string;
  readonly publisher: string;
  readonly topic: string;
  readonly reason: string;
}

/** As soon as the spool of that route and backend is as wanted. */
export async function spoolOf(
  gateway: Gateway,
  route: string,
  wanted: (row: SpoolRow) => boolean,
  backend = 'backend',
): Promise<SpoolRow> {
  return until(`the spool ${route}/${backend}: ${wanted.toString()}`, 60_000, async () => {
    // Its shape is asserted by the tests that are about it.
    const rows = (await gateway.ok('route', 'list', '--json')).json() as SpoolRow[];
    const row = rows.find((each) => each.route === route && each.backend === backend);
    return row !== undefined && wanted(row) ? row : undefined;
  });
}

export async function deadLettersOf(
  gateway: Gateway,
  route: string,
): Promise<readonly DeadLetterRow[]> {
  // As above.
  return (await gateway.ok('route', 'dead-letters', route, '--json')).json() as DeadLetterRow[];
}
