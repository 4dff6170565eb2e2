/** Questions to the supervisor, which answers each once. */
import { SallyportError } from '../common/base/errors.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import type { ControlToSupervisor } from '../common/ipc/messages.ts';

interface Waiting {
  readonly resolve: (bundle: ConfigBundle | undefined) => void;
  readonly reject: (error: SallyportError) => void;
}

export class SupervisorCalls {
  readonly #send: (message: ControlToSupervisor) => void;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor(send: (message: ControlToSupervisor) => void) {
    this.#send = send;
  }

  /** The operator's configuration as it is now. @throws SallyportError `invalid-config` when it cannot be read. */
  async readBundle(): Promise<ConfigBundle> {
    const bundle = await this.#ask('read-bundle');
    if (bundle === undefined)
      throw new SallyportError('internal', 'the supervisor sent no configuration');
    return bundle;
  }

  /** Resolves when new workers serve and the old ones have drained. */
  async replaceProcesses(): Promise<void> {
    await this.#ask('replace-processes');
  }

  answered(id: number, bundle: ConfigBundle | undefined, error: string | undefined): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(bundle);
    else waiting?.reject(new SallyportError('invalid-config', error));
  }

  #ask(type: 'read-bundle' | 'replace-processes'): Promise<ConfigBundle | undefined> {
    return new Promise((resolve, reject) => {
      this.#lastId += 1;
      this.#waiting.set(this.#lastId, { resolve, reject });
      this.#send({ type, id: this.#lastId });
    });
  }
}
