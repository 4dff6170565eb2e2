/** What an accepted message finds in the way of backends: the port that the spools fill, for the intake. */
import { SallyportError } from '../../common/base/errors.ts';
import type { Message } from '../broker/message.ts';

export interface Spooling {
  /**
   * Puts the message into the spool of every backend whose route matches its topic. Undefined when there is none;
   * otherwise a promise that resolves when the message is as durable as the `durability` setting says.
   *
   * Messages given in one turn of the event loop are written together. Two messages of one device of which the second
   * was given after the first had resolved, on whichever worker, reach a backend in that order; so do two messages
   * given one after the other on this worker.
   *
   * @throws SallyportError `unavailable`, or rejects with it, when a spool has reached its bound or the disk refuses:
   * the message is then in none of them.
   */
  spool(message: Message): Promise<void> | undefined;
}

/** The disk is nearly full: whoever has published it is told, and sends it again. */
export function noRoom(): SallyportError {
  return new SallyportError('unavailable', 'the disk is nearly full');
}
