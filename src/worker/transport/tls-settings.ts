/**
 * TLS of the device-facing listeners: the common profile, client certificates asked for, tickets that all workers read.
 * No early data: node:tls has none.
 */
import { createHash, hkdfSync } from 'node:crypto';
import type { TlsOptions } from 'node:tls';
import { cipherSuites, secureOptions, signatureAlgorithms } from '../../common/base/tls-profile.ts';
import type { TlsMaterial } from '../../common/ipc/snapshot.ts';

/** Seconds that a session ticket is good for: a device that sleeps an hour resumes, a stolen ticket ages. */
const sessionTimeoutSeconds = 3_600;

/**
 * @param ticketSecret 32 bytes that all workers share. The ticket keys are derived from it and from the trust anchors:
 * when an anchor goes, every ticket that was given under it is void on all workers at once.
 */
export function tlsOptions(material: TlsMaterial, ticketSecret: Buffer): TlsOptions {
  return {
    cert: material.certificateChain,
    key: material.privateKey,
    ca: material.anchors.flatMap((anchor) => [...anchor.certificates]),
    minVersion: `TLSv${material.minVersion}`,
    maxVersion: 'TLSv1.3',
    ciphers: cipherSuites,
    ecdhCurve: material.groups.join(':'),
    sigalgs: signatureAlgorithms,
    honorCipherOrder: true,
    secureOptions,
    requestCert: true,
    // Our own check decides and can say why on the wire; with `true` the device sees its connection close.
    rejectUnauthorized: false,
    sessionIdContext: 'sallyport',
    sessionTimeout: sessionTimeoutSeconds,
    ticketKeys: ticketKeys(material, ticketSecret),
  };
}

function ticketKeys(material: TlsMaterial, ticketSecret: Buffer): Buffer {
  const anchors = createHash('sha256');
  for (const anchor of material.anchors) {
    anchors.update(JSON.stringify([anchor.name, anchor.mapping, anchor.certificates]));
  }
  const info = Buffer.concat([Buffer.from('sallyport tls tickets 1 '), anchors.digest()]);
  return Buffer.from(hkdfSync('sha256', ticketSecret, Buffer.alloc(0), info, 48));
}
