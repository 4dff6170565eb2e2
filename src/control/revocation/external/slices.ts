/** Long work cut into slices, between which the event loop is everybody's. */
import { setImmediate as turn } from 'node:timers/promises';

const sliceMs = 15;
/** Steps between two looks at the clock; one takes a microsecond or two. */
const stepsPerLook = 256;

export class Slices {
  #steps = 0;
  #endsAt = performance.now() + sliceMs;

  /** To be asked after every step. When it says so, `next` is awaited. */
  isOver(): boolean {
    this.#steps += 1;
    return this.#steps % stepsPerLook === 0 && performance.now() >= this.#endsAt;
  }

  async next(): Promise<void> {
    await turn();
    this.#endsAt = performance.now() + sliceMs;
  }
}
