/** Questions to the supervisor, which answers each once. */
import { randomInt } from 'node:crypto';
import { SallyportError } from '../common/base/errors.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import type { ControlToSupervisor } from '../common/ipc/messages.ts';

interface Waiting {
  readonly failure: 'invalid-config' | 'timeout';
  readonly resolve: (bundle: ConfigBundle | undefined) => void;
  readonly reject: (error: SallyportError) => void;
}

export class SupervisorCalls {
  readonly #send: (message: ControlToSupervisor) => void;
  readonly #waiting = new Map<number, Waiting>();
  /** Begins anywhere, so that an answer to an earlier control's question is nobody's. */
  #lastId = randomInt(1, 2 ** 40);

  constructor(send: (message: ControlToSupervisor) => void) {
    this.#send = send;
  }

  /**
   * The operator's configuration as it is now. `applied` MUST be called once it is in force: the next control starts
   * with it.
   *
   * @throws SallyportError `invalid-config` when it cannot be read.
   */
  async readBundle(): Promise<{ readonly bundle: ConfigBundle; readonly applied: () => void }> {
    const { id, answer } = this.#ask('read-bundle');
    const bundle = await answer;
    if (bundle === undefined) {
      throw new SallyportError('internal', 'the supervisor sent no configuration');
    }
    return { bundle, applied: () => this.#send({ type: 'applied', id }) };
  }

  /** Resolves when new workers serve and the old ones have drained. */
  async replaceProcesses(): Promise<void> {
    await this.#ask('replace-processes').answer;
  }

  answered(id: number, bundle: ConfigBundle | undefined, error: string | undefined): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(bundle);
    else waiting?.reject(new SallyportError(waiting.failure, error));
  }

  #ask(type: 'read-bundle' | 'replace-processes'): {
    readonly id: number;
    readonly answer: Promise<ConfigBundle | undefined>;
  } {
    this.#lastId += 1;
    const id = this.#lastId;
    const failure = type === 'read-bundle' ? 'invalid-config' : 'timeout';
    const answer = new Promise<ConfigBundle | undefined>((resolve, reject) => {
      this.#waiting.set(id, { failure, resolve, reject });
      this.#send({ type, id });
    });
    return { id, answer };
  }
}
