/**
 * Tells control how far this worker has followed it. What has arrived together is acknowledged together: a worker that
 * starts is given all that has changed since the last snapshot, and as many answers would be more than the supervisor
 * takes from a healthy worker. Acknowledging a change acknowledges all before it.
 */
import type { WorkerToControl } from '../common/ipc/messages.ts';

export interface AcknowledgementPorts {
  readonly position: () => { readonly epoch: number; readonly seq: number };
  readonly toControl: (message: WorkerToControl) => void;
}

export class Acknowledgements {
  readonly #ports: AcknowledgementPorts;
  #isDue = false;

  constructor(ports: AcknowledgementPorts) {
    this.#ports = ports;
  }

  /** Acknowledges what was applied, as soon as everything that came with it was. */
  applied(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#ports.toControl({ type: 'ack', ...this.#ports.position() });
    });
  }

  /** What has come could not be applied. */
  refused(error: string): void {
    this.#ports.toControl({ type: 'ack', ...this.#ports.position(), error });
  }
}
