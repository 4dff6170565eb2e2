/** What is known of the clock of this machine: certificates, revocation lists and the time for devices hang on it. */
import type { Logger } from '../../common/base/logger.ts';
import type { ClockReading } from '../../common/ipc/messages.ts';

/** Devices that compare times with us notice a second. */
const noticedSeconds = 1;

export class ClockWatch {
  readonly #logger: Pick<Logger, 'warn' | 'info'>;
  #reading: ClockReading | undefined;
  #wasOff = false;

  constructor(logger: Pick<Logger, 'warn' | 'info'>) {
    this.#logger = logger;
  }

  /** The last one; undefined when nobody on this machine knows. */
  get reading(): ClockReading | undefined {
    return this.#reading;
  }

  /** A line when it becomes wrong, and one when it is right again. */
  read(reading: ClockReading | undefined): void {
    this.#reading = reading;
    if (reading === undefined) return;
    const { synchronized, aheadSeconds = 0 } = reading;
    const isOff = !synchronized || Math.abs(aheadSeconds) > noticedSeconds;
    if (isOff === this.#wasOff) return;
    this.#wasOff = isOff;
    const fields = { synchronized, aheadSeconds: reading.aheadSeconds };
    if (isOff) this.#logger.warn(fields, 'the clock of this machine is not to be trusted');
    else this.#logger.info(fields, 'the clock of this machine is right again');
  }
}
