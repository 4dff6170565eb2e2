/**
 * OCSP stapling (RFC 6066 section 8): the last good answer about the certificate that is served goes into the handshake
 * of a client that asks for one. A client that asks and gets none goes on without; a handshake never fails for it.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import type { Staple } from '../../common/ipc/snapshot.ts';

/** How far the clock may be set back until what came before is from a time to come, which clients refuse. */
const clockStepMs = 60_000;

interface Response {
  readonly der: Buffer;
  /** Milliseconds. */
  readonly since: number;
  readonly nextUpdate: number;
}

export class Stapling {
  readonly #clock: Clock;
  readonly #count: (name: string) => void;
  #responses: ReadonlyMap<string, Response> = new Map();
  /** The certificate of the last handshake that asked: for as long as it is served, none needs to be hashed again. */
  #last: { readonly certificate: Buffer; readonly response: Response | undefined } | undefined;

  constructor(clock: Clock, count: (name: string) => void) {
    this.#clock = clock;
    this.#count = count;
  }

  update(staples: readonly Staple[]): void {
    const since = this.#clock.now();
    this.#responses = new Map(
      staples.map(({ certificate, response, nextUpdate }) => [
        certificate,
        { der: Buffer.from(response, 'base64'), since, nextUpdate },
      ]),
    );
    this.#last = undefined;
  }

  /** The `OCSPRequest` event of node:tls. An error in the callback would end the handshake. */
  readonly answer = (
    certificate: Buffer | null | undefined,
    _issuer: unknown,
    callback: (error: null, response: Buffer | null) => void,
  ): void => {
    const response = this.#responseFor(certificate);
    this.#count(`ocsp_staples{answer="${response === undefined ? 'none' : 'sent'}"}`);
    callback(null, response?.der ?? null);
  };

  #responseFor(certificate: Buffer | null | undefined): Response | undefined {
    if (certificate === null || certificate === undefined) return undefined;
    if (this.#last?.certificate.equals(certificate) !== true) {
      const response = this.#responses.get(hash('sha256', certificate, 'hex'));
      this.#last = { certificate, response };
    }
    const { response } = this.#last;
    if (response === undefined) return undefined;
    const now = this.#clock.now();
    // Clients take an old one for an attempt to hide a revocation; none at all they can bear.
    const holds = now < response.nextUpdate && now >= response.since - clockStepMs;
    return holds ? response : undefined;
  }
}
