/**
 * The text that `X-IoT-Signature` is an HMAC of: eight lines, joined by line feeds, none at the end. Everything in it but
 * the path is free of line feeds by its syntax, so no two messages have the same text.
 */
import { hash } from 'node:crypto';

export interface CanonicalParts {
  /** Of MQTT `PUBLISH`. */
  readonly method: string;
  /** Canonical; the topic, of MQTT. No line feed. */
  readonly path: string;
  /** Without the question mark; empty = none. */
  readonly query: string;
  /** Seconds since 1970, in digits. */
  readonly timestamp: string;
  readonly nonce: string;
  readonly keyId: string;
  readonly body: Buffer;
}

export function canonicalForm(parts: CanonicalParts): string {
  const { method, path, query, timestamp, nonce, keyId, body } = parts;
  const digest = hash('sha256', body, 'hex');
  return `SALLYPORT-HMAC-SHA256\n${method}\n${path}\n${query}\n${timestamp}\n${nonce}\n${keyId}\n${digest}`;
}
