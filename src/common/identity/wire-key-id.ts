/**
 * How a registered key is named on the wire: `d1.1` is key `1` of the device d1, `service:ingest.1` key `1` of the service
 * ingest. The id of a key has no dot, so the last one divides. An id of a device that itself begins with the name of a
 * kind and a colon is written with `device:` before it: no name can mean two principals.
 */
import { parsePrincipalName, principalParts } from '../base/principal.ts';
import type { PrincipalName } from '../base/principal.ts';

export interface NamedKey {
  readonly principal: PrincipalName;
  /** Unique among the keys of the principal. */
  readonly id: string;
}

/** `RegisteredKey.id`. */
export const keyIdPattern = /^[A-Za-z0-9_-]{1,32}$/;
const kindPrefix = /^(?:device|service|operator):/;
/** The longest kind with its colon, a principal's id, a dot and a key's id. */
const maxLength = 9 + 128 + 1 + 32;

export function wireKeyId({ principal, id }: NamedKey): string {
  const { kind, id: owner } = principalParts(principal);
  const isPlain = kind === 'device' && !kindPrefix.test(owner);
  return `${isPlain ? '' : `${kind}:`}${owner}.${id}`;
}

/** @returns undefined for what `wireKeyId` never writes, and for keys of operators, who have none. */
export function parseWireKeyId(text: string): NamedKey | undefined {
  if (text.length > maxLength) return undefined;
  const dot = text.lastIndexOf('.');
  const id = text.slice(dot + 1);
  if (dot < 1 || !keyIdPattern.test(id)) return undefined;
  const owner = text.slice(0, dot);
  const prefix = kindPrefix.exec(owner)?.[0] ?? '';
  const kind = prefix === '' ? 'device' : prefix.slice(0, -1);
  if (kind === 'operator') return undefined;
  const principal = parsePrincipalName(`${kind}/${owner.slice(prefix.length)}`);
  if (principal === undefined) return undefined;
  const named = { principal: principal.name, id };
  // One spelling for each key: `device:d1.1` is not another one of `d1.1`.
  return wireKeyId(named) === text ? named : undefined;
}
