/**
 * OCSP answers as control has signed them, by the bytes of the request that each of them is for. Most of what is asked
 * is answered from here; an answer goes when one of the certificates that it speaks of is revoked.
 */
import { hash } from 'node:crypto';
import { SallyportError } from '../../../common/base/errors.ts';
import type { OcspAnswer } from '../../../common/ipc/control-calls.ts';
import { Allowance } from './allowance.ts';
import type { StatusPorts } from './ports.ts';
import type { Answer } from './wire.ts';
import { ocspAnswer } from './wire.ts';

type OcspPorts = Pick<StatusPorts, 'clock' | 'limits' | 'call'>;

interface Stored {
  readonly body: Buffer;
  /** Milliseconds. */
  readonly since: number;
  readonly until: number;
  readonly tag: string;
  readonly expires: string;
  readonly certificates: readonly string[];
}

/** id-pkix-ocsp-nonce (RFC 9654 section 2.1) as an OBJECT IDENTIFIER: no answer to such a request serves another. */
const nonceId = Buffer.from('06092b0601050507300102', 'hex');
/** Under way at once: a control that is slow must have room for enrolments too, which come by the same calls. */
const maxAsking = 32;
/** How far the clock may be set back until what was signed before is from a time to come, which clients refuse. */
const clockStepMs = 60_000;
/** What an entry costs besides its bytes. */
const entryBytes = 500;

export class OcspAnswers {
  readonly #ports: OcspPorts;
  /** Asked for longest ago first. */
  readonly #answers = new Map<string, Stored>();
  /** Certificate → requests whose answers speak of it. */
  readonly #requests = new Map<string, Set<string>>();
  readonly #asking = new Map<string, Promise<Answer>>();
  readonly #calls: Allowance;
  readonly #nonceCalls: Allowance;
  #bytes = 0;
  /** Counts revocations: an answer that was asked for before one may not know of it. */
  #revocations = 0;

  constructor(ports: OcspPorts) {
    const { clock, limits } = ports;
    this.#ports = ports;
    this.#calls = new Allowance(clock, () => limits().statusCallsPerSecond, 1);
    this.#nonceCalls = new Allowance(clock, () => limits().statusCallsPerSecond / 2, 1);
  }

  get size(): number {
    return this.#answers.size;
  }

  /** The answer that is in store. */
  find(request: Buffer): Answer | undefined {
    const key = request.toString('latin1');
    const stored = this.#answers.get(key);
    if (stored === undefined) return undefined;
    const now = this.#ports.clock.now();
    const leftMs = stored.until - now;
    if (leftMs <= 0 || now < stored.since - clockStepMs) {
      this.#drop(key, stored);
      return undefined;
    }
    this.#answers.delete(key);
    this.#answers.set(key, stored);
    const { tag, expires } = stored;
    return ocspAnswer(stored.body, { tag, expires, seconds: Math.floor(leftMs / 1_000) });
  }

  /**
   * Has control answer; those who ask the same at once share one answer.
   *
   * @throws SallyportError `rate` or `busy` when control is asked enough already, or what control refused with.
   */
  async ask(request: Buffer): Promise<Answer> {
    const key = request.toString('latin1');
    const asked = this.#asking.get(key);
    if (asked !== undefined) return asked;
    if (this.#asking.size >= maxAsking)
      throw new SallyportError('busy', 'too many OCSP requests wait for control');
    if (request.includes(nonceId) && !this.#nonceCalls.take(1))
      throw new SallyportError('rate', 'too many OCSP requests with a nonce');
    if (!this.#calls.take(1)) throw new SallyportError('rate', 'too many OCSP requests');
    const asking = this.#ask(key, request).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  /** @param certificates `<anchor>:<serial>`; undefined: any may have been. */
  revoked(certificates: ReadonlySet<string> | undefined): void {
    this.#revocations += 1;
    if (certificates === undefined) {
      this.#answers.clear();
      this.#requests.clear();
      this.#bytes = 0;
      return;
    }
    for (const certificate of certificates) {
      for (const key of this.#requests.get(certificate) ?? []) {
        const stored = this.#answers.get(key);
        if (stored !== undefined) this.#drop(key, stored);
      }
    }
  }

  async #ask(key: string, request: Buffer): Promise<Answer> {
    const revocations = this.#revocations;
    const answer = await this.#ports.call({ what: 'ocsp', request: request.toString('base64') });
    if (!isOcspAnswer(answer)) throw new SallyportError('internal', 'no OCSP answer');
    const body = Buffer.from(answer.der, 'base64');
    const { cacheUntil: until, certificates } = answer;
    // A nonce is for one request, whatever control says.
    if (until === undefined || revocations !== this.#revocations || request.includes(nonceId))
      return ocspAnswer(body, undefined);
    const tag = hash('sha256', body, 'hex').slice(0, 32);
    const expires = new Date(until).toUTCString();
    const since = this.#ports.clock.now();
    this.#store(key, { body, since, until, tag, expires, certificates });
    return this.find(request) ?? ocspAnswer(body, undefined);
  }

  #store(key: string, stored: Stored): void {
    const before = this.#answers.get(key);
    if (before !== undefined) this.#drop(key, before);
    this.#answers.set(key, stored);
    this.#bytes += bytesOf(key, stored);
    for (const certificate of stored.certificates) {
      const requests = this.#requests.get(certificate);
      if (requests === undefined) this.#requests.set(certificate, new Set([key]));
      else requests.add(key);
    }
    const most = this.#ports.limits().ocspCacheBytes;
    for (const [oldest, its] of this.#answers) {
      if (this.#bytes <= most) break;
      this.#drop(oldest, its);
    }
  }

  #drop(key: string, stored: Stored): void {
    this.#answers.delete(key);
    this.#bytes -= bytesOf(key, stored);
    for (const certificate of stored.certificates) {
      const requests = this.#requests.get(certificate);
      requests?.delete(key);
      if (requests?.size === 0) this.#requests.delete(certificate);
    }
  }
}

function bytesOf(key: string, { body, certificates }: Stored): number {
  return entryBytes + key.length + body.length + 100 * certificates.length;
}

function isOcspAnswer(value: unknown): value is OcspAnswer {
  if (typeof value !== 'object' || value === null) return false;
  const { der, cacheUntil, certificates }: Partial<Record<keyof OcspAnswer, unknown>> = value;
  return (
    typeof der === 'string' &&
    (cacheUntil === undefined || typeof cacheUntil === 'number') &&
    Array.isArray(certificates) &&
    certificates.every((certificate) => typeof certificate === 'string')
  );
}
