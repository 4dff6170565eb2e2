/** What the metrics need from the rest of control. */
import type { PrincipalKind } from '../../common/base/principal.ts';

export interface ControlState {
  /** Milliseconds, wall clock. */
  readonly startedAt: number;
  /** Number of the newest snapshot frame, and what each worker has acknowledged. */
  readonly seq: number;
  readonly workers: readonly { readonly slot: number; readonly acknowledgedSeq: number }[];
  readonly identities: Readonly<Record<PrincipalKind, number>>;
}
