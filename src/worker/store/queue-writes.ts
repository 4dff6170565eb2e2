/**
 * What a turn of the event loop writes into queues: one condition for each session, however many messages are for it. With
 * a block of writes of its own a message cost 81 µs from socket to PUBACK and not 25 to 36 (`bench/rows/durable.ts`).
 */
import type { SessionId } from '../broker/sessions.ts';
import type { LmdbIds } from './lmdb-ids.ts';
import type { TurnWriter } from './lmdb-turns.ts';
import type { Admission } from './queue-bounds.ts';
import { queuedKey, receivedKey } from './queue-entries.ts';
import type { SessionTables } from './session-tables.ts';

/** A message on its way into one queue. */
export interface Placement {
  readonly session: SessionId;
  readonly entry: Buffer;
  readonly admission: Admission;
}

interface Write {
  readonly key: Buffer;
  /** undefined: it is removed. */
  readonly value: Buffer | undefined;
}

export class QueueWrites implements TurnWriter {
  readonly #tables: SessionTables;
  readonly #ids: LmdbIds;
  #gathered = new Map<SessionId, Write[]>();
  /** Of this turn, and what it lets in. */
  #done: Promise<void> | undefined;
  #landing: Admission[] = [];

  constructor(tables: SessionTables, ids: LmdbIds) {
    this.#tables = tables;
    this.#ids = ids;
  }

  /**
   * Everything until the turn ends is written together.
   *
   * @returns as `LmdbTurns.join` does. @throws SallyportError `io`: nothing may be added then.
   */
  begin(): Promise<void> {
    const done = this.#tables.join(this);
    if (done !== this.#done) {
      const landing: Admission[] = [];
      this.#done = done;
      this.#landing = landing;
      // Before those who wait for it: they may ask for room.
      void done.then(
        () => land(landing, true),
        () => land(landing, false),
      );
    }
    return done;
  }

  /** After `begin`, in the same turn. */
  place({ session, entry, admission }: Placement): void {
    const writes = this.#of(session);
    for (const old of admission.pushedOut) {
      writes.push({ key: queuedKey(session, old), value: undefined });
    }
    writes.push({ key: queuedKey(session, admission.id), value: entry });
    this.#landing.push(admission);
  }

  /** After `begin`, in the same turn. */
  receive(session: SessionId, packetId: number): void {
    this.#of(session).push({ key: receivedKey(session, packetId), value: Buffer.of(1) });
  }

  writeGathered(): void {
    const gathered = this.#gathered;
    this.#gathered = new Map();
    const tables = this.#tables;
    for (const [session, writes] of gathered) {
      tables.ifAlive(session, () => {
        for (const { key, value } of writes) {
          if (value === undefined) tables.remove(key);
          else tables.put(key, value);
        }
      });
    }
    this.#ids.note();
  }

  #of(session: SessionId): Write[] {
    const known = this.#gathered.get(session);
    if (known !== undefined) return known;
    const writes: Write[] = [];
    this.#gathered.set(session, writes);
    return writes;
  }
}

function land(admissions: readonly Admission[], written: boolean): void {
  for (const admission of admissions) admission.landed(written);
}
