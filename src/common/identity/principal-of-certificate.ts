/**
 * From a certificate to the one principal it speaks for, or to the reason why it speaks for none. Nothing is repaired,
 * folded or guessed: a certificate that says two things, or one thing in an unusual way, is refused.
 */
import { parsePrincipalName } from '../base/principal.ts';
import type { PrincipalName } from '../base/principal.ts';
import { oids } from '../codec/der/oids.ts';
import type { AnchorMapping, TrustAnchor } from '../ipc/snapshot.ts';
import type { CertificateFacts } from './certificate.ts';

export type CertificateRefusal =
  | 'not-yet-valid'
  | 'expired'
  /** A critical extension that the gateway does not process (RFC 5280 section 4.2). */
  | 'critical-extension'
  | 'ca-certificate'
  /** keyUsage without digitalSignature: the key may not prove who speaks. */
  | 'wrong-key-usage'
  /** extendedKeyUsage without clientAuth. */
  | 'wrong-eku'
  /** The place that names the principal is empty. */
  | 'no-identity'
  /** The place that names the principal holds more than one name. */
  | 'ambiguous-identity'
  | 'foreign-trust-domain'
  /** The name is not a principal's id: a control character, a foreign letter, a separator, too long. */
  | 'bad-id'
  /** CN and SPIFFE id disagree. */
  | 'name-mismatch';

export type MappedPrincipal =
  | { readonly ok: true; readonly principal: PrincipalName }
  | { readonly ok: false; readonly reason: CertificateRefusal };

/**
 * `anchor` is the one whose signature on the certificate has been verified; `nowMs` is milliseconds since 1970-01-01
 * UTC. Never throws.
 */
export function principalOfCertificate(
  facts: CertificateFacts,
  anchor: TrustAnchor,
  trustDomain: string,
  nowMs: number,
): MappedPrincipal {
  const reason = unfitForClient(facts, anchor.mapping, nowMs);
  if (reason !== undefined) return refused(reason);
  return anchor.mapping.type === 'spiffe'
    ? bySpiffeId(facts, trustDomain)
    : byRule(facts, anchor.mapping);
}

/** The part of it that time alone can change; `nowMs` is as above. */
export function untimelyForClient(
  { notBefore, notAfter }: Pick<CertificateFacts, 'notBefore' | 'notAfter'>,
  nowMs: number,
): CertificateRefusal | undefined {
  if (nowMs < notBefore) return 'not-yet-valid';
  // notAfter is a whole second and inclusive.
  return nowMs >= notAfter + 1000 ? 'expired' : undefined;
}

/** In the order of RFC 5280 section 6.1.3 and 6.1.5: time, then what the certificate may be used for. */
function unfitForClient(
  facts: CertificateFacts,
  mapping: AnchorMapping,
  nowMs: number,
): CertificateRefusal | undefined {
  const untimely = untimelyForClient(facts, nowMs);
  if (untimely !== undefined) return untimely;
  if (facts.unknownCriticalExtensions.length > 0) return 'critical-extension';
  if (facts.isCa) return 'ca-certificate';
  if (facts.keyUsage?.has('digitalSignature') === false) return 'wrong-key-usage';
  // Our own profile always says clientAuth; other CAs may leave the extension out, which means any purpose.
  const purposesRequired = mapping.type === 'spiffe';
  const purposes = facts.extendedKeyUsage ?? (purposesRequired ? [] : [oids.clientAuth]);
  return purposes.includes(oids.clientAuth) ? undefined : 'wrong-eku';
}

function bySpiffeId(facts: CertificateFacts, trustDomain: string): MappedPrincipal {
  const uri = only(facts.sanUris);
  const commonName = only(facts.commonNames);
  if (!uri.ok) return uri;
  if (!commonName.ok) return commonName;

  const scheme = 'spiffe://';
  if (!uri.value.startsWith(scheme)) return refused('no-identity');
  const domainEnd = uri.value.indexOf('/', scheme.length);
  if (uri.value.slice(scheme.length, Math.max(domainEnd, scheme.length)) !== trustDomain) {
    return refused('foreign-trust-domain');
  }
  const named = parsePrincipalName(uri.value.slice(domainEnd + 1));
  if (named === undefined) return refused('bad-id');
  return named.id === commonName.value
    ? { ok: true, principal: named.name }
    : refused('name-mismatch');
}

function byRule(
  facts: CertificateFacts,
  rule: AnchorMapping & { readonly type: 'rule' },
): MappedPrincipal {
  const found = only(namesAt(facts, rule.from));
  if (!found.ok) return found;
  // The name alone must be an id too: a prefix must not make a valid one of a value that is not.
  const named = parsePrincipalName(`${rule.kind}/${rule.prefix}${found.value}`);
  if (named === undefined || parsePrincipalName(`${rule.kind}/${found.value}`) === undefined) {
    return refused('bad-id');
  }
  return { ok: true, principal: named.name };
}

function namesAt(
  facts: CertificateFacts,
  from: (AnchorMapping & { readonly type: 'rule' })['from'],
): readonly string[] {
  switch (from) {
    case 'cn':
      return facts.commonNames;
    case 'san-dns':
      return facts.sanDnsNames;
    case 'san-uri':
      return facts.sanUris;
    case 'serial-number':
      return facts.subjectSerialNumbers;
  }
}

type Single =
  | { readonly ok: true; readonly value: string }
  | { readonly ok: false; readonly reason: CertificateRefusal };

function only(values: readonly string[]): Single {
  const [value] = values;
  if (value === undefined) return { ok: false, reason: 'no-identity' };
  return values.length === 1 ? { ok: true, value } : { ok: false, reason: 'ambiguous-identity' };
}

function refused(reason: CertificateRefusal): {
  readonly ok: false;
  readonly reason: CertificateRefusal;
} {
  return { ok: false, reason };
}
