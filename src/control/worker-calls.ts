/**
 * What workers ask of control on behalf of the network. A worker is untrusted: what it may ask of is a table, how much
 * of each is bounded for each worker, and whoever answers checks every field.
 */
import type { Clock } from '../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../common/base/errors.ts';
import type { Logger } from '../common/base/logger.ts';
import type { ControlCall } from '../common/ipc/control-calls.ts';
import type { ControlToWorker } from '../common/ipc/messages.ts';

/** What a worker claims to want; `what` has been looked at, nothing else. */
export type CallFields = Readonly<Record<string, unknown>>;

export interface CallHandler {
  /** Calls of one worker that begin in one second; beyond it they are refused with `rate`. */
  readonly perSecond: number;
  /** Of one worker under way at once; beyond it they are refused with `busy`. */
  readonly atOnce: number;
  /** @throws SallyportError what the worker is to be told; anything else is told as `internal`. */
  answer(slot: number, call: CallFields): Promise<unknown>;
}

export type CallHandlers = Readonly<Partial<Record<ControlCall['what'], CallHandler>>>;

export interface WorkerCallParts {
  readonly clock: Clock;
  readonly handlers: CallHandlers;
  readonly toWorker: (slot: number, message: ControlToWorker) => void;
  readonly logger: Logger;
}

interface Charge {
  second: number;
  begun: number;
  open: number;
}

export class WorkerCalls {
  readonly #parts: WorkerCallParts;
  readonly #handlers: ReadonlyMap<unknown, CallHandler>;
  /** By slot and handler, of which there are few. */
  readonly #charges = new Map<string, Charge>();

  constructor(parts: WorkerCallParts) {
    this.#parts = parts;
    this.#handlers = new Map(Object.entries(parts.handlers));
  }

  /** Answers once, whatever happens; what is no call is not answered. */
  async accept(slot: number, message: CallFields): Promise<void> {
    const { id, call } = message;
    if (typeof id !== 'number' || !isFields(call)) return;
    const { toWorker, logger } = this.#parts;
    try {
      toWorker(slot, { type: 'called', id, ok: true, value: await this.#answer(slot, call) });
    } catch (error) {
      const code = errorCodeOf(error);
      // Also what somebody has to do something about: the worker tells whoever asked no more than `unavailable`.
      if (code === 'internal' || code === 'io')
        logger.error({ slot, err: messageOf(error) }, 'a call of a worker failed');
      toWorker(slot, { type: 'called', id, ok: false, code, message: messageOf(error) });
    }
  }

  async #answer(slot: number, call: CallFields): Promise<unknown> {
    const handler = this.#handlers.get(call['what']);
    if (handler === undefined) throw new SallyportError('not-found', 'nobody answers such a call');
    const charge = this.#charge(slot, handler, String(call['what']));
    charge.open += 1;
    try {
      return await handler.answer(slot, call);
    } finally {
      charge.open -= 1;
    }
  }

  #charge(slot: number, { perSecond, atOnce }: CallHandler, what: string): Charge {
    const key = `${slot} ${what}`;
    const second = Math.floor(this.#parts.clock.monotonic() / 1_000);
    const charge = this.#charges.get(key) ?? { second, begun: 0, open: 0 };
    this.#charges.set(key, charge);
    if (charge.second !== second) {
      charge.second = second;
      charge.begun = 0;
    }
    charge.begun += 1;
    if (charge.begun > perSecond)
      throw new SallyportError('rate', `too many calls (${what}) a second`);
    if (charge.open >= atOnce)
      throw new SallyportError('busy', `too many calls (${what}) are open`);
    return charge;
  }
}

function isFields(value: unknown): value is CallFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
