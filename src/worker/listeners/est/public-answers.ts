/**
 * What everybody is answered the same: the CA certificates, and what a request should contain. Kept, so that a flood of
 * strangers who ask for them is no concern of control's, and so that devices get them while it is down.
 */
import type { Clock } from '../../../common/base/clock.ts';
import type { EstCall } from '../../../common/ipc/control-calls.ts';
import { readAnswer } from './answer.ts';
import type { Answer } from './answer.ts';

/** A CA that is new is not in use before it has been told for much longer. */
const freshMs = 60_000;
/** Two operations, and the labels that control knows. */
const maxKept = 16;

interface Kept {
  readonly answer: Answer;
  readonly until: number;
}

export interface PublicAnswerPorts {
  readonly clock: Clock;
  readonly call: (call: EstCall) => Promise<unknown>;
}

export class PublicAnswers {
  readonly #ports: PublicAnswerPorts;
  readonly #kept = new Map<string, Kept>();
  readonly #asked = new Map<string, Promise<Answer>>();

  constructor(ports: PublicAnswerPorts) {
    this.#ports = ports;
  }

  /**
   * @param call with nothing of who asks, but his address.
   * @throws SallyportError why control did not answer, when nothing is known from before.
   */
  async get(call: EstCall): Promise<Answer> {
    const key = `${call.label ?? ''}/${call.operation}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined && this.#ports.clock.monotonic() < kept.until) return kept.answer;
    const asked = this.#asked.get(key) ?? this.#ask(key, call);
    if (kept === undefined) return asked;
    return asked.catch(() => kept.answer);
  }

  /** One question at a time, however many wait for its answer. */
  #ask(key: string, call: EstCall): Promise<Answer> {
    const asking = this.#answer(key, call).finally(() => this.#asked.delete(key));
    this.#asked.set(key, asking);
    return asking;
  }

  async #answer(key: string, call: EstCall): Promise<Answer> {
    const answer = readAnswer(await this.#ports.call(call));
    // What is not there may be there in a moment, and strangers can think of any number of names for it.
    if (answer.status !== 200 && answer.status !== 204) return answer;
    this.#kept.delete(key);
    this.#kept.set(key, { answer, until: this.#ports.clock.monotonic() + freshMs });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > maxKept && oldest !== undefined) this.#kept.delete(oldest);
    return answer;
  }
}
