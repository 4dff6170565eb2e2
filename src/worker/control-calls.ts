/**
 * What this worker asks of control for somebody in the network. Bounded in number and time: control may be down, and who
 * waits for it is told `unavailable`.
 */
import { randomInt } from 'node:crypto';
import { SallyportError } from '../common/base/errors.ts';
import type { ControlCall } from '../common/ipc/control-calls.ts';
import type { ControlToWorker, WorkerToControl } from '../common/ipc/messages.ts';

type Called = Extract<ControlToWorker, { type: 'called' }>;

/** Under way at once. Each holds a request and the connection that waits for its answer. */
const maxOpen = 64;
/** Control signs in a millisecond; in hardware it may take a second, and many may wait for it. */
const answerMs = 10_000;

export interface ControlCallPorts {
  readonly toControl: (message: WorkerToControl) => void;
  readonly later: (ms: number, action: () => void) => () => void;
}

interface Open {
  readonly cancel: () => void;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: SallyportError) => void;
}

export class ControlCalls {
  readonly #ports: ControlCallPorts;
  readonly #open = new Map<number, Open>();
  /** Begins anywhere, so that an answer to the worker that had this slot before is nobody's. */
  #lastId = randomInt(1, 2 ** 40);

  constructor(ports: ControlCallPorts) {
    this.#ports = ports;
  }

  /**
   * What control answered, in the form that `ControlCall` says.
   *
   * @throws SallyportError what control refused with; `busy` when too many calls are open, `unavailable` when it does not
   *   answer in time.
   */
  async call(call: ControlCall): Promise<unknown> {
    if (this.#open.size >= maxOpen) throw new SallyportError('busy', 'control is asked too much');
    this.#lastId += 1;
    const id = this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    const cancel = this.#ports.later(answerMs, () => {
      this.#open.delete(id);
      answer.reject(new SallyportError('unavailable', 'control does not answer'));
    });
    this.#open.set(id, { cancel, resolve: answer.resolve, reject: answer.reject });
    this.#ports.toControl({ type: 'call', id, call });
    return answer.promise;
  }

  called(message: Called): void {
    const open = this.#open.get(message.id);
    if (open === undefined) return;
    this.#open.delete(message.id);
    open.cancel();
    if (message.ok) open.resolve(message.value);
    else open.reject(new SallyportError(message.code, message.message));
  }
}
