/** Signs as docs/signatures.md says, without the gateway's own code. */
import { createHmac, hash, randomBytes } from 'node:crypto';
import type { Property } from './mqtt-properties.ts';

/** What `device key add` shows. */
export interface HmacKey {
  readonly keyId: string;
  /** Hexadecimal. */
  readonly key: string;
}

export interface ToSign {
  readonly method: string;
  /** Or the topic. */
  readonly path: string;
  readonly query?: string;
  readonly body: string | Buffer;
  readonly nonce?: string;
  /** Seconds since 1970. */
  readonly timestamp?: number;
}

export type IotHeaders = Readonly<Record<(typeof names)[number], string>>;

const names = ['x-iot-signature', 'x-iot-timestamp', 'x-iot-nonce', 'x-iot-key-id'] as const;

export function newNonce(): string {
  return randomBytes(16).toString('base64url');
}

export function iotHeaders({ keyId, key }: HmacKey, message: ToSign): IotHeaders {
  const { method, path, query = '', body, nonce = newNonce() } = message;
  const timestamp = String(message.timestamp ?? Math.floor(Date.now() / 1_000));
  const digest = hash('sha256', body, 'hex');
  const lines = ['SALLYPORT-HMAC-SHA256', method, path, query, timestamp, nonce, keyId, digest];
  const mac = createHmac('sha256', Buffer.from(key, 'hex')).update(lines.join('\n')).digest('hex');
  return {
    'x-iot-signature': mac,
    'x-iot-timestamp': timestamp,
    'x-iot-nonce': nonce,
    'x-iot-key-id': keyId,
  };
}

/** The same as user properties of MQTT 5. */
export function iotProperties(
  key: HmacKey,
  topic: string,
  body: string,
  nonce?: string,
): Property[] {
  const sent = { method: 'PUBLISH', path: topic, body };
  const signed = iotHeaders(key, nonce === undefined ? sent : { ...sent, nonce });
  return names.map((name) => ['userProperty', [name, signed[name]]]);
}

/** Of the body alone: no time, no nonce. */
export function bodyHmac({ keyId, key }: HmacKey, body: string): Readonly<Record<string, string>> {
  const mac = createHmac('sha256', Buffer.from(key, 'hex')).update(body).digest('hex');
  return { 'x-iot-key-id': keyId, 'x-iot-signature': mac };
}

/**
 * RFC 9421 by hand, and whatever a test wants to leave out.
 *
 * @param covered components and their values, in their order. @param parameters of the signature, with their semicolons.
 */
export function messageSignature(
  { keyId, key }: HmacKey,
  covered: readonly (readonly [component: string, value: string])[],
  parameters = `;created=${Math.floor(Date.now() / 1_000)};nonce="${newNonce()}";keyid="${keyId}"`,
): Readonly<Record<string, string>> {
  const list = `(${covered.map(([name]) => `"${name}"`).join(' ')})${parameters}`;
  const values = covered.map(([name, value]) => `"${name}": ${value}`);
  const base = [...values, `"@signature-params": ${list}`].join('\n');
  const mac = createHmac('sha256', Buffer.from(key, 'hex')).update(base).digest('base64');
  return { 'Signature-Input': `s=${list}`, Signature: `s=:${mac}:` };
}
