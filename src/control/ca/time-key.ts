/**
 * The key with which workers sign the time, and its certificate. Workers face the network, so it is worth little: it is
 * made anew with each start and again and again, its certificate is short-lived, and it is good for the time alone.
 */
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { oid, sequence } from '../../common/codec/der/writer.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { TimeCredentials } from '../../common/ipc/snapshot.ts';
import { buildCertificate, distinguishedName, extension } from './build-certificate.ts';
import type { Issuer } from './hierarchy.ts';
import { backdateMs, dayMs } from './profiles.ts';
import type { CertificateProfile } from './profiles.ts';

/** For whoever has it in store: it may be read once and used for a few days. */
const days = 7;
/** A new one is made when less than this part of its life is left. */
const renewedAt = 0.5;

const profile: CertificateProfile = {
  days,
  pathLength: undefined,
  keyUsage: ['digitalSignature'],
  // Critical, and so among the extensions of its own.
  extendedKeyUsage: [],
};

export interface TimeKeyParts {
  readonly clock: Clock;
  /** The CA that issues now. */
  readonly issuer: () => Issuer;
}

interface Held {
  readonly credentials: TimeCredentials;
  readonly issuer: string;
  readonly notBefore: number;
  readonly renewAt: number;
}

export class TimeKey {
  readonly #parts: TimeKeyParts;
  #held: Held | undefined;

  constructor(parts: TimeKeyParts) {
    this.#parts = parts;
  }

  get credentials(): TimeCredentials | undefined {
    return this.#held?.credentials;
  }

  /**
   * Makes a new key when there is none, it is half through its life, another CA issues now, or the clock has gone back
   * before its beginning.
   *
   * @returns whether it did. @throws as `Signer.sign`; the last key stays.
   */
  async renew(): Promise<boolean> {
    const { clock, issuer: issuing } = this.#parts;
    const issuer = issuing();
    const now = clock.now();
    const held = this.#held;
    if (held?.issuer === issuer.id && now >= held.notBefore && now < held.renewAt) return false;
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certificate = await this.#certify(issuer, publicKey, now);
    const { notBefore, notAfter } = parseCertificate(certificate);
    this.#held = {
      credentials: {
        certificate: certificate.toString('base64'),
        privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
      },
      issuer: issuer.id,
      notBefore,
      renewAt: notAfter - (notAfter - notBefore) * renewedAt,
    };
    return true;
  }

  async #certify(issuer: Issuer, publicKey: KeyObject, now: number): Promise<Buffer> {
    const content = {
      profile,
      subject: distinguishedName([[oids.commonName, 'sallyport time']]),
      issuer: parseCertificate(issuer.certificate.raw).subject,
      spki: publicKey.export({ type: 'spki', format: 'der' }),
      alternativeNames: [],
      // RFC 3161 section 2.3: critical, and alone. No certificate that authenticates somebody has it.
      extensions: [extension(oids.extendedKeyUsage, sequence(oid(oids.timeStamping)), true)],
      notBefore: now - backdateMs,
      notAfter: Math.min(now + days * dayMs, issuer.notAfter),
    };
    return buildCertificate(content, issuer.signer);
  }
}
