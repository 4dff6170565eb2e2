/** What control looks at again and again: certificates that end, keys and lists that are due. */
import type { CaServices } from './ca-services.ts';
import type { Configuration } from './configuration.ts';
import type { ExpiryWatch } from './enrolment/expiry-watch.ts';
import type { RevocationDesk } from './revocation-desk.ts';
import type { StatusMaterials } from './status-materials.ts';
import type { TokenServices } from './token-services.ts';

/** How often it is looked whether another CA issues now, or a key that signs the time, or tokens, is due. */
const statusCheckMs = 60_000;
/** How often the server certificate's remaining life is looked at. */
const renewalCheckMs = 6 * 3_600_000;
/** When the workers are there. */
const firstLookMs = 30_000;

export interface RegularWorkParts {
  readonly configuration: Pick<Configuration, 'current' | 'renewServerCertificate'>;
  readonly ca: Pick<CaServices, 'tend'>;
  readonly status: Pick<StatusMaterials, 'check'>;
  readonly revocation: Pick<RevocationDesk, 'check'>;
  readonly expiry: Pick<ExpiryWatch, 'look' | 'close'>;
  readonly tokens: Pick<TokenServices, 'check'>;
}

export class RegularWork {
  readonly #parts: RegularWorkParts;
  readonly #timers: NodeJS.Timeout[] = [];
  #expiryTimer: NodeJS.Timeout | undefined;

  constructor(parts: RegularWorkParts) {
    this.#parts = parts;
  }

  start(): void {
    const { configuration, ca, status, revocation, tokens } = this.#parts;
    this.#timers.push(
      setInterval(() => {
        void configuration.renewServerCertificate();
        void ca.tend();
      }, renewalCheckMs),
      setInterval(() => {
        void status.check();
        void revocation.check();
        void tokens.check();
      }, statusCheckMs),
    );
    void ca.tend();
    this.#watchExpiry(firstLookMs);
  }

  stop(): void {
    clearTimeout(this.#expiryTimer);
    this.#parts.expiry.close();
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** Soon after the start, then at the pace that the configuration has. */
  #watchExpiry(soonestMs = Number.POSITIVE_INFINITY): void {
    const { configuration, expiry } = this.#parts;
    const { expiryCheckMs } = configuration.current.enrolment;
    this.#expiryTimer = setTimeout(
      () => void expiry.look().then(() => this.#watchExpiry()),
      Math.min(soonestMs, expiryCheckMs),
    );
  }
}
