/**
 * The way in to the status listener: its door has places and a turn of its own, so that whoever crowds there takes
 * nothing from the devices.
 */
import type { Clock } from '../common/base/clock.ts';
import type { Logger } from '../common/base/logger.ts';
import type { LimitsDocument } from '../common/config/policy-document.ts';
import type { ListenAddress, Snapshot } from '../common/ipc/snapshot.ts';
import type { StatusListener } from './listeners/status/listener.ts';
import { PlainListener } from './transport/plain-server.ts';
import { SourceAdmission } from './transport/source-admission.ts';
import type { AdmissionLimits } from './transport/source-admission.ts';
import { Turnstile } from './transport/turnstile.ts';

export interface StatusListeningParts {
  readonly listener: StatusListener;
  readonly limits: () => LimitsDocument;
  readonly clock: Clock;
  /** The policy's answer to the outcome of admission: undefined lets the connection in. */
  readonly judge: (refusal: string | undefined) => string | undefined;
  readonly logger: Logger;
  readonly count: (name: string) => void;
}

export class StatusListening {
  readonly #parts: StatusListeningParts;
  #plain: PlainListener | undefined;
  #turnstile: Turnstile | undefined;

  constructor(parts: StatusListeningParts) {
    this.#parts = parts;
  }

  get connections(): number {
    return this.#parts.listener.connections;
  }

  /**
   * @param port that the group has already taken.
   * @returns where; undefined when it is switched off. @throws SallyportError `io` when the address cannot be had.
   */
  async open(snapshot: Snapshot, port: number | undefined): Promise<ListenAddress | undefined> {
    const address = snapshot.listeners.status;
    if (address === false) return undefined;
    const { listener, limits, clock, judge, logger, count } = this.#parts;
    const admission = new SourceAdmission({ clock, limits: () => admissionLimits(limits()) });
    const { failures } = admission;
    this.#turnstile = new Turnstile({ clock, limits, failures });
    this.#plain = new PlainListener({
      name: 'status',
      admission,
      turnstile: this.#turnstile,
      proxies: address.proxy,
      proxyHeaderMs: limits().proxyHeaderMs,
      clock,
      judge,
      logger,
      count,
      onConnection: (socket, admitted) => listener.accept(socket, admitted),
    });
    const { host } = address;
    return { host, port: await this.#plain.listen({ host, port: port ?? address.port }) };
  }

  /** Stops accepting, then ends what is live, within `limitMs`. */
  async drain(limitMs: number): Promise<void> {
    const closed = this.#plain?.stopAccepting();
    this.#parts.listener.drain(limitMs);
    this.#turnstile?.close();
    await closed;
  }
}

function admissionLimits(limits: LimitsDocument): AdmissionLimits {
  const { statusConnections, sourceStatusConnections } = limits;
  return {
    sourceConnectionsPerSecond: limits.sourceConnectionsPerSecond,
    sourceConnections: sourceStatusConnections,
    halfOpen: statusConnections,
    sourceHalfOpen: sourceStatusConnections,
    // Those that wait for their turn, and those of the half-open that have just lost their place.
    sessions: statusConnections + limits.admissionQueue + 1,
    sourceFailures: limits.sourceFailures,
    sourceSlowedPerSecond: limits.sourceSlowedPerSecond,
  };
}
