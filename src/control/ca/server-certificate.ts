/** Whether the server certificate still serves. */
import { isIP } from 'node:net';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { addressOctets } from './general-names.ts';

/** False when it does not serve, or less than a third of its life is left. */
export function isServerCertificateCurrent(
  der: Buffer,
  serverNames: readonly string[],
  nowMs: number,
): boolean {
  const { notBefore, notAfter } = parseCertificate(der);
  const isYoung = notAfter - nowMs >= (notAfter - notBefore) / 3;
  return isYoung && doesServerCertificateServe(der, serverNames, nowMs);
}

/** False when it names other hosts than `serverNames` or is not valid now. */
export function doesServerCertificateServe(
  der: Buffer,
  serverNames: readonly string[],
  nowMs: number,
): boolean {
  const facts = parseCertificate(der);
  if (nowMs < facts.notBefore || nowMs >= facts.notAfter) return false;
  const held = new Set([...facts.sanDnsNames, ...facts.sanIpAddresses.map((hex) => `ip ${hex}`)]);
  const wanted = new Set(
    serverNames.map((name) =>
      isIP(name) === 0 ? name : `ip ${addressOctets(name).toString('hex')}`,
    ),
  );
  return held.symmetricDifference(wanted).size === 0;
}
