/** Since when a peer has taken nothing of what waits for it. */
import type { SecureConnection } from '../../transport/secure-connection.ts';

export class Stall {
  #takenBytes = 0;
  #since: number | undefined;

  /**
   * Called about once a second.
   *
   * @returns how long none of what is pending has been taken, milliseconds.
   */
  look(
    { pendingBytes, takenBytes }: Pick<SecureConnection, 'pendingBytes' | 'takenBytes'>,
    now: number,
  ): number {
    if (pendingBytes === 0) {
      this.#since = undefined;
      return 0;
    }
    // As much may be pending each time because all of it was taken and as much was written.
    if (this.#since === undefined || takenBytes > this.#takenBytes) {
      this.#takenBytes = takenBytes;
      this.#since = now;
    }
    return now - this.#since;
  }
}
