/**
 * The last snapshot and what followed it, as the frames that control sent. The supervisor hands them to every worker
 * that starts, so that a replacement starts while control is down, with nothing older than what its neighbours have.
 * They stay in memory: the keys that a worker needs come from control too, so no start without control could use a
 * file, and there is none to steal or to roll back.
 */
import { frameKinds } from '../common/ipc/frames.ts';
import type { Frame } from '../common/ipc/frames.ts';

/** Deltas may take as much as the snapshot, but at least this, before a fresh snapshot is due. */
const minDeltaBytes = 1024 * 1024;

export class SnapshotCache {
  #snapshot: Frame | undefined;
  #deltas: Frame[] = [];
  #deltaBytes = 0;
  #current: Frame | undefined;

  /** @returns true when a fresh snapshot is due because the deltas outgrew the last one. */
  keep(frame: Frame): boolean {
    switch (frame.kind) {
      case frameKinds.snapshot:
        this.#snapshot = owned(frame);
        this.#deltas = [];
        this.#deltaBytes = 0;
        this.#current = undefined;
        return false;
      case frameKinds.delta:
        this.#deltas.push(owned(frame));
        this.#deltaBytes += frame.body.length;
        return this.#deltaBytes > Math.max(minDeltaBytes, this.#snapshot?.body.length ?? 0);
      case frameKinds.current:
        this.#current = owned(frame);
        return false;
      default:
        return false;
    }
  }

  /** In the order in which they were sent. */
  frames(): readonly Frame[] {
    if (this.#snapshot === undefined) return [];
    const frames = [this.#snapshot, ...this.#deltas];
    return this.#current === undefined ? frames : [...frames, this.#current];
  }
}

/** A body may be a slice of a read buffer; keeping it would pin the buffer. */
function owned(frame: Frame): Frame {
  return { ...frame, body: Buffer.from(frame.body) };
}
