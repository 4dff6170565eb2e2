/**
 * One window of a rate limit with the meaning of nginx's `limit_req … burst=B nodelay`: a bucket leaks `limit` units
 * per `perMs`; a request passes while the excess after it is at most `burst`. 5/s with burst 10 passes 11 at once and
 * refuses the twelfth.
 */
export interface RateWindow {
  /** Requests that leak away per `perMs`. */
  readonly limit: number;
  /** Length of the window in milliseconds. */
  readonly perMs: number;
  /** Requests above the steady rate that pass without delay. */
  readonly burst: number;
}
