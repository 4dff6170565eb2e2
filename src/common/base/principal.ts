/**
 * A principal is a device, a service or an operator. Its name, `device/<id>`, is the key of every table that is about
 * identities; its SPIFFE id is what certificates and backends carry.
 */
import { SallyportError } from './errors.ts';

export const principalKinds = ['device', 'service', 'operator'] as const;
export type PrincipalKind = (typeof principalKinds)[number];

/** `device/<id>`, `service/<name>` or `operator/<name>`; made only by `principalName` and `parsePrincipalName`. */
export type PrincipalName = string & { readonly __brand: 'PrincipalName' };

/**
 * What an id may be: safe as one MQTT topic level, one path segment, one file name and one RDN value.
 * No `/`, `+`, `#`, `$`, NUL or white space; starts with a letter or digit; at most 128 characters.
 */
const idPattern = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

export function isPrincipalId(value: unknown): value is string {
  return typeof value === 'string' && idPattern.test(value);
}

/** @throws SallyportError `usage` when `id` is not a principal id. */
export function principalName(kind: PrincipalKind, id: string): PrincipalName {
  if (!isPrincipalId(id)) {
    throw new SallyportError('usage', `"${printable(id)}" is not a valid ${kind} id`, {
      hint: 'use 1 to 128 letters, digits, ".", "_", ":" and "-", starting with a letter or digit',
    });
  }
  return `${kind}/${id}` as PrincipalName;
}

/** `device/d1` → its parts, or undefined when the text is not a principal's name. */
export function parsePrincipalName(
  text: string,
): { kind: PrincipalKind; id: string; name: PrincipalName } | undefined {
  const slash = text.indexOf('/');
  const kind = text.slice(0, Math.max(slash, 0));
  const id = text.slice(slash + 1);
  const known = principalKinds.find((k) => k === kind);
  if (known === undefined || !isPrincipalId(id)) return undefined;
  return { kind: known, id, name: text as PrincipalName };
}

/** Kind and id of a name that is already known to be valid. */
export function principalParts(name: PrincipalName): { kind: PrincipalKind; id: string } {
  const slash = name.indexOf('/');
  return { kind: name.slice(0, slash) as PrincipalKind, id: name.slice(slash + 1) };
}

export function spiffeId(trustDomain: string, name: PrincipalName): string {
  return `spiffe://${trustDomain}/${name}`;
}

/** Untrusted text made safe for a terminal or a log line: control and non-ASCII characters escaped, 80 at most. */
export function printable(text: string): string {
  const cut = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  return cut.replace(/[^\x20-\x7e…]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}

/**
 * active: normal service. suspended: nothing, until resumed. quarantined: firmware and time only, until an operator
 * releases it. firmware-floor: the same reach, derived from policy. revoked: nothing, for good.
 */
export const standings = [
  'active',
  'suspended',
  'quarantined',
  'firmware-floor',
  'revoked',
] as const;
export type Standing = (typeof standings)[number];

/** What an operator can do about a standing; which applies when is the registry's state machine. */
export const standingActions = [
  'suspend',
  'resume',
  'quarantine',
  'release',
  'revoke',
  'reinstate',
] as const;
export type StandingAction = (typeof standingActions)[number];
