/** What the metrics need from the rest of control. */
import type { PrincipalKind } from '../../common/base/principal.ts';
import type { ListState } from '../revocation/crl/certificate-lists.ts';
import type { ClockReading } from '../../common/ipc/messages.ts';

export interface ControlState {
  /** Milliseconds, wall clock. */
  readonly startedAt: number;
  /** Number of the newest snapshot frame, and what each worker has acknowledged. */
  readonly seq: number;
  readonly workers: readonly { readonly slot: number; readonly acknowledgedSeq: number }[];
  readonly identities: Readonly<Record<PrincipalKind, number>>;
  /** Undefined when nobody on this machine knows. */
  readonly clock: ClockReading | undefined;
  /** The newest revocation list of each CA of ours. */
  readonly lists: readonly ListState[];
  /** What became of enrolments over the network since control started: `issued`, `pending`, or a code. */
  readonly enrolments: ReadonlyMap<string, number>;
  /** Days → identities whose last certificate ends within them; `0` = has ended. */
  readonly expiring: Readonly<Record<number, number>>;
  /** When the certificates of the CA and of the gateway end, milliseconds. */
  readonly ends: Readonly<Record<'root' | 'issuing' | 'server', number>>;
}
