/**
 * TLS of the device-facing listeners: the common profile, client certificates asked for, tickets that all workers read.
 * No early data: node:tls has none.
 */
import { constants, createHash, hkdfSync } from 'node:crypto';
import type { TlsOptions } from 'node:tls';
import { algorithmOptions, secureOptions } from '../../common/base/tls-profile.ts';
import type { TlsMaterial } from '../../common/ipc/snapshot.ts';

/** Seconds that a session ticket is good for: a device that sleeps an hour resumes, a stolen ticket ages. */
const sessionTimeoutSeconds = 3_600;

/**
 * `known` are those of the trust anchors; `any` may show any certificate, which nobody has looked at then; `none`: nobody is
 * asked for one.
 */
export type ClientCertificates = 'known' | 'any' | 'none';

/** A session begun in one context is not resumed in another. */
const contexts: Readonly<Record<ClientCertificates, string>> = {
  known: 'sallyport',
  any: 'sallyport any',
  none: 'sallyport none',
};

/**
 * @param ticketSecret 32 bytes that all workers share. The ticket keys are derived from it and from the trust anchors:
 * when an anchor goes, every ticket that was given under it is void on all workers at once.
 */
export function tlsOptions(
  material: TlsMaterial,
  ticketSecret: Buffer,
  clients: ClientCertificates = 'known',
): TlsOptions {
  return {
    cert: material.certificateChain,
    key: material.privateKey,
    // None, and not the ones that Node brings: RFC 5246 §7.4.4, a client that is told no names may send what it has.
    ca: clients === 'known' ? material.anchors.flatMap((anchor) => [...anchor.certificates]) : [],
    minVersion: `TLSv${material.minVersion}`,
    maxVersion: 'TLSv1.3',
    ...algorithmOptions(material.algorithms ?? {}),
    ecdhCurve: material.groups.join(':'),
    honorCipherOrder: true,
    // Where a certificate is all that is proven, it is proven by each handshake.
    secureOptions: clients === 'any' ? secureOptions | constants.SSL_OP_NO_TICKET : secureOptions,
    requestCert: clients !== 'none',
    // Our own check decides and can say why on the wire; with `true` the device sees its connection close.
    rejectUnauthorized: false,
    sessionIdContext: contexts[clients],
    sessionTimeout: sessionTimeoutSeconds,
    ticketKeys: ticketKeys(material, ticketSecret),
  };
}

/** 48 bytes, as node:tls wants them. */
export function ticketKeys(material: TlsMaterial, ticketSecret: Buffer): Buffer {
  const anchors = createHash('sha256');
  for (const anchor of material.anchors) {
    anchors.update(JSON.stringify([anchor.name, anchor.mapping, anchor.certificates]));
  }
  const info = Buffer.concat([Buffer.from('sallyport tls tickets 1 '), anchors.digest()]);
  return Buffer.from(hkdfSync('sha256', ticketSecret, Buffer.alloc(0), info, 48));
}
