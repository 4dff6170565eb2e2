/** What a client shows and whom it trusts, in memory: thousands of files read once. */
import { readFileSync } from 'node:fs';
import type { Identity } from '../../test/harness/gateway.ts';

/** PEM. */
export interface Credentials {
  readonly id: string;
  readonly key: string;
  /** The leaf and its issuing CA. */
  readonly cert: string;
  /** The root of the server's certificate. */
  readonly ca: string;
}

export function loadCredentials({ id, key, crt, ca }: Identity): Credentials {
  return {
    id,
    key: readFileSync(key, 'utf8'),
    cert: readFileSync(crt, 'utf8'),
    ca: readFileSync(ca, 'utf8'),
  };
}
