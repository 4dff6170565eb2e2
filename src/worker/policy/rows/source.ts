/**
 * Limits per source address and on half-open handshakes, before a byte of TLS is spent. The transport counts; a
 * source without a place is refused here.
 */
import { deny } from '../decision.ts';
import type { Row } from '../row.ts';

const name = 'source';

export const sourceRow: Row = {
  name,
  codes: ['busy'],
  cells: {
    accept: {
      says: 'connections per source, half-open handshakes',
      bind:
        () =>
        ({ refusal }) =>
          refusal === undefined ? undefined : deny('busy', name, refusal),
    },
  },
};
