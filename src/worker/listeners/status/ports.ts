/** What the status listener needs from outside its folder; the worker's composition root fits it. */
import type { Clock } from '../../../common/base/clock.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { ControlCall } from '../../../common/ipc/control-calls.ts';

export type StatusLimits = Pick<
  LimitsDocument,
  | 'sourceStatusPerSecond'
  | 'statusCallsPerSecond'
  | 'signedTimesPerSecond'
  | 'ocspRequestBytes'
  | 'ocspCacheBytes'
  | 'headerBytes'
  | 'headers'
  | 'headersMs'
  | 'requestMs'
  | 'idleMs'
  | 'stalledMs'
>;

export interface StatusPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: () => StatusLimits;
  /** @throws SallyportError what control refused with; `busy` or `unavailable` when it was not asked. */
  readonly call: (call: ControlCall) => Promise<unknown>;
  readonly count: (name: string) => void;
}
