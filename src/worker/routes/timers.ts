/** The machine's own timers. None of them keeps the process alive. */
import type { Timers } from './ports.ts';

export const systemTimers: Timers = Object.freeze({
  after(ms: number, wake: () => void) {
    const timer = setTimeout(wake, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
});
