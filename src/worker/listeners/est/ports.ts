/** What the EST listener needs from outside its folder; the worker's composition root fits it. */
import type { Clock } from '../../../common/base/clock.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import type { EstCall } from '../../../common/ipc/control-calls.ts';

export interface EstPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits: () => LimitsDocument;
  /** Asks control. @throws SallyportError why it was not answered. */
  readonly call: (call: EstCall) => Promise<unknown>;
  /** Somebody at this address was not given what he asked for: his network pays. */
  readonly failed: (address: string) => void;
  readonly count: (name: string) => void;
}
