/**
 * Guards for what callers send: body fields, query parameters and path parameters. Every refusal is `usage` and names
 * the field.
 */
import { SallyportError } from '../../common/base/errors.ts';
import { principalKinds, principalName, printable } from '../../common/base/principal.ts';
import type { PrincipalKind, PrincipalName } from '../../common/base/principal.ts';
import type { ApiRequest } from './route.ts';

export type Fields = ReadonlyMap<string, unknown>;

/** Own fields of a body; a name that the route does not know is refused, because it is a misspelling. */
export function bodyFields(body: unknown, known: readonly string[]): Fields {
  const fields = new Map<string, unknown>(
    typeof body === 'object' && body !== null ? Object.entries(body) : [],
  );
  for (const name of fields.keys()) {
    if (known.includes(name)) continue;
    throw new SallyportError('usage', `unknown field "${printable(name)}"`, {
      hint: known.length === 0 ? 'the body is {}' : `known fields: ${known.join(', ')}`,
    });
  }
  return fields;
}

export function optionalText(fields: Fields, name: string, maxLength: number): string | undefined {
  const value = fields.get(name);
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value.length === 0 || value.length > maxLength) {
    throw new SallyportError('usage', `"${name}" must be a text of 1 to ${maxLength} characters`);
  }
  return value;
}

export function requiredText(fields: Fields, name: string, maxLength: number): string {
  const value = optionalText(fields, name, maxLength);
  if (value === undefined) throw new SallyportError('usage', `"${name}" is missing`);
  return value;
}

export function requiredInteger(fields: Fields, name: string, min: number, max: number): number {
  const value = fields.get(name);
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw new SallyportError('usage', `"${name}" must be a whole number from ${min} to ${max}`);
  }
  return value;
}

/** A whole number in the query string, or `fallback` when it is not there. */
export function queryInteger(
  query: URLSearchParams,
  name: string,
  bounds: { readonly min: number; readonly max: number; readonly fallback: number },
): number {
  const text = query.get(name);
  if (text === null) return bounds.fallback;
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || value < bounds.min || value > bounds.max) {
    throw new SallyportError(
      'usage',
      `"${name}" must be a whole number from ${bounds.min} to ${bounds.max}`,
    );
  }
  return value;
}

export function kindOf(text: string | null | undefined): PrincipalKind {
  const kind = principalKinds.find((known) => known === text);
  if (kind === undefined) {
    throw new SallyportError('usage', `"${printable(text ?? '')}" is not a kind of principal`, {
      hint: `kinds: ${principalKinds.join(', ')}`,
    });
  }
  return kind;
}

/** The principal of `{kind}` and `{id}` in the path. */
export function pathPrincipal(request: ApiRequest): PrincipalName {
  return principalName(kindOf(request.params.get('kind')), request.params.get('id') ?? '');
}
