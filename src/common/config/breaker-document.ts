/** When an identity whose payloads keep failing their checks is refused unread, and for how long. */
export interface BreakerDocument {
  readonly failures: number;
  readonly withinMs: number;
  readonly openMs: number;
}
