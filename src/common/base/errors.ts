/**
 * The one error type of the gateway and the closed unions of its codes.
 *
 * `DenyCode` is what a device can be told (docs/architecture.md, "The way of a message"); each listener has one table
 * from it to its protocol's reason. `FaultCode` is what an operator can be told. Anything else that is thrown is a
 * defect and is mapped to `internal` at the edge.
 */
export const denyCodes = [
  'unauthenticated',
  'standing',
  'busy',
  'rate',
  'quota',
  'too-large',
  'malformed',
  'forbidden',
  'integrity',
  'schema',
  'not-found',
  'unavailable',
] as const;
export type DenyCode = (typeof denyCodes)[number];

const faultCodes = [
  'usage',
  'invalid-config',
  'invalid-csr',
  'invalid-certificate',
  'invalid-frame',
  'unknown-principal',
  'already-exists',
  'wrong-standing',
  'not-running',
  'locked',
  'no-key',
  'tampered',
  'io',
  'timeout',
  'internal',
] as const;
export type FaultCode = (typeof faultCodes)[number];
export type ErrorCode = DenyCode | FaultCode;

export interface ErrorOptionsWithHint {
  /** What the reader should do next; one sentence, shown to operators, never to devices. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** `message` is for operators and logs. A device is told `code` and nothing more. */
export class SallyportError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SallyportError';
    this.code = code;
    this.hint = options.hint;
  }
}

const knownCodes: ReadonlySet<string> = new Set<string>([...denyCodes, ...faultCodes]);

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && knownCodes.has(value);
}

/** The code of whatever was thrown; anything that is not ours is `internal`. */
export function errorCodeOf(thrown: unknown): ErrorCode {
  return thrown instanceof SallyportError ? thrown.code : 'internal';
}

/** A one-line text of whatever was thrown, for logs. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** For a function that hands on the promise of somebody else, which `async` would wrap: what was thrown before. */
export function rejection(thrown: unknown): Promise<never> {
  const error = thrown instanceof Error ? thrown : new SallyportError('internal', String(thrown));
  return Promise.reject(error);
}
