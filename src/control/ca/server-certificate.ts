/** Whether the server certificate still serves. */
import { isIP } from 'node:net';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { addressOctets } from './general-names.ts';

/** False when it names other hosts than `serverNames`, or less than a third of its life is left. */
export function isServerCertificateCurrent(
  der: Buffer,
  serverNames: readonly string[],
  nowMs: number,
): boolean {
  const facts = parseCertificate(der);
  const life = facts.notAfter - facts.notBefore;
  if (nowMs < facts.notBefore || facts.notAfter - nowMs < life / 3) return false;
  const held = new Set([...facts.sanDnsNames, ...facts.sanIpAddresses.map((hex) => `ip ${hex}`)]);
  const wanted = new Set(
    serverNames.map((name) =>
      isIP(name) === 0 ? name : `ip ${addressOctets(name).toString('hex')}`,
    ),
  );
  return held.symmetricDifference(wanted).size === 0;
}
