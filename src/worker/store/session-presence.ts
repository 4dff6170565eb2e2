/** Which processes there are: a session whose owner is not among them has lost its connection. */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Owner } from './session-record.ts';
import type { SessionTables } from './session-tables.ts';

/** The workers of this machine, as this one knows them. */
export interface Workers {
  /** Slots of the live workers, this one among them unless it drains. */
  slots(): readonly number[];
  /** Whether the process that has the slot may still be there, draining or not. */
  isPresent(slot: number): boolean;
  /** Whether this worker is the identity's home, and alone looks after sessions that nobody owns. */
  isHome(principal: PrincipalName): boolean;
}

export class SessionPresence {
  readonly #tables: SessionTables;
  readonly #workers: Workers;

  constructor(tables: SessionTables, workers: Workers) {
    this.#tables = tables;
    this.#workers = workers;
  }

  /** Slots come again; the token says whether it is the same process. */
  isThere(owner: Owner | undefined): boolean {
    if (owner === undefined) return false;
    const { self } = this.#tables;
    if (owner.slot === self.slot) return owner.token === self.token;
    return this.#workers.isPresent(owner.slot) && this.#tables.tokenOf(owner.slot) === owner.token;
  }
}
