/**
 * Who is it? The transport has verified the certificate; here the outcome is judged, first of all, so that nothing is
 * charged to an identity that has not been proven. Later entry points run on a connection that has passed this row.
 */
import { deny } from '../decision.ts';
import type { Row } from '../row.ts';

const name = 'authentication';
const nobody = deny('unauthenticated', name, 'no principal');

export const authenticationRow: Row = {
  name,
  codes: ['unauthenticated'],
  cells: {
    connect: {
      says: 'verified client certificate names a known principal',
      bind:
        ({ subject }) =>
        ({ authentication }) => {
          if (!authentication.ok) return deny('unauthenticated', name, authentication.detail);
          return subject === undefined ? nobody : undefined;
        },
    },
  },
};
