/**
 * The status listener of this worker: what anybody may know of our certificates and of the time. Plain HTTP, as RFC 5280
 * and RFC 6960 have it: whoever checks a certificate cannot be made to check another one first.
 */
import type { Socket } from 'node:net';
import type { StatusMaterial, TlsMaterial } from '../../../common/ipc/snapshot.ts';
import type { Admitted } from '../../transport/door.ts';
import { Allowance, SourceAllowances } from './allowance.ts';
import { CaCertificates } from './ca-certificates.ts';
import { StatusConnection } from './connection.ts';
import type { StatusConnectionOwner } from './connection.ts';
import type { StatusService } from './handle-request.ts';
import { OcspAnswers } from './ocsp-answers.ts';
import type { StatusPorts } from './ports.ts';
import { RevocationLists } from './revocation-lists.ts';
import { TimeSigner } from './time-signer.ts';

/** One timer for all connections instead of one each. */
const tickMs = 1_000;

export class StatusListener implements StatusConnectionOwner {
  readonly service: StatusService;
  readonly #connections = new Set<StatusConnection>();
  readonly #sources: SourceAllowances;
  #timer: NodeJS.Timeout | undefined;
  #date = { second: Number.NaN, text: '' };

  constructor(ports: StatusPorts) {
    const { clock, limits } = ports;
    this.service = {
      ports,
      ocsp: new OcspAnswers(ports),
      lists: new RevocationLists(ports),
      certificates: new CaCertificates(),
      time: new TimeSigner(clock),
      signatures: new Allowance(clock, () => limits().signedTimesPerSecond, 1),
    };
    this.#sources = new SourceAllowances(clock, () => limits().sourceStatusPerSecond);
  }

  get connections(): number {
    return this.#connections.size;
  }

  get date(): string {
    const now = this.service.ports.clock.now();
    const second = Math.floor(now / 1_000);
    if (second !== this.#date.second) this.#date = { second, text: new Date(now).toUTCString() };
    return this.#date.text;
  }

  /** @param socket paused, with an `error` listener. */
  accept(socket: Socket, admitted: Admitted): void {
    const source = this.#sources.of(admitted.source.address);
    const connection = new StatusConnection(this, socket, admitted, source);
    this.#connections.add(connection);
    this.#timer ??= setInterval(() => this.#tick(), tickMs).unref();
    connection.start();
  }

  ended(connection: StatusConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Our CAs may be others. */
  changeTls(tls: TlsMaterial): void {
    const { certificates, lists } = this.service;
    certificates.update(tls);
    lists.keepOnly(certificates.ids);
  }

  changeStatus({ time }: StatusMaterial): void {
    this.service.time.update(time);
  }

  /** @param certificates `<anchor>:<serial>`; undefined: any may have been. */
  certificatesRevoked(certificates: ReadonlySet<string> | undefined): void {
    this.service.ocsp.revoked(certificates);
    this.service.lists.revoked();
  }

  /** Ends every connection after what it is doing, within `limitMs`. */
  drain(limitMs: number): void {
    for (const connection of this.#connections) {
      connection.run(() => connection.shutDown(limitMs));
    }
  }

  #tick(): void {
    const now = this.service.ports.clock.monotonic();
    for (const connection of this.#connections) connection.run(() => connection.tick(now));
  }
}
