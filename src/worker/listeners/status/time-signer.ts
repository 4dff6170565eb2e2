/**
 * The time, signed for whoever asked (docs/status-listener.md): a JWS in compact form (RFC 7515) over the nonce of the
 * request, so that nobody on the way can show a device an old time. ES256, since a microcontroller has it for TLS.
 */
import { createPrivateKey, hash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../../common/base/clock.ts';
import { parseCertificate } from '../../../common/identity/certificate.ts';
import type { TimeCredentials } from '../../../common/ipc/snapshot.ts';

interface Key {
  readonly certificate: Buffer;
  readonly etag: string;
  readonly privateKey: KeyObject;
  /** The first part of the JWS, and the dot. */
  readonly head: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Nobody guesses 128 bits, and what is longer serves nobody. Needs no escape in JSON. */
const noncePattern = /^[A-Za-z0-9_-]{22,64}$/;

export class TimeSigner {
  readonly #clock: Clock;
  #key: Key | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  update(credentials: TimeCredentials | undefined): void {
    this.#key = credentials === undefined ? undefined : keyOf(credentials);
  }

  /** DER of the certificate of the key that signs now. */
  get certificate(): { readonly body: Buffer; readonly etag: string } | undefined {
    return this.#key === undefined
      ? undefined
      : { body: this.#key.certificate, etag: this.#key.etag };
  }

  /** Undefined when nothing can be signed: no key, or one whose certificate does not hold at this time. */
  sign(nonce: string): string | undefined {
    const key = this.#key;
    const now = this.#clock.now();
    // Nobody would believe it: a device checks the time against this very certificate.
    if (key === undefined || now < key.notBefore || now > key.notAfter) return undefined;
    const payload = `{"nonce":"${nonce}","time":${Math.floor(now / 1_000)}}`;
    const signed = key.head + Buffer.from(payload, 'latin1').toString('base64url');
    const options = { key: key.privateKey, dsaEncoding: 'ieee-p1363' } as const;
    const signature = sign('sha256', Buffer.from(signed, 'latin1'), options);
    return `${signed}.${signature.toString('base64url')}`;
  }
}

export function isNonce(text: string): boolean {
  return noncePattern.test(text);
}

function keyOf({ certificate, privateKey }: TimeCredentials): Key {
  const der = Buffer.from(certificate, 'base64');
  const { notBefore, notAfter } = parseCertificate(der);
  const thumbprint = hash('sha256', der, 'base64url');
  const header = { alg: 'ES256', typ: 'time+jws', 'x5t#S256': thumbprint };
  return {
    certificate: der,
    etag: `"${thumbprint}"`,
    privateKey: createPrivateKey(privateKey),
    head: `${Buffer.from(JSON.stringify(header)).toString('base64url')}.`,
    notBefore,
    notAfter,
  };
}
