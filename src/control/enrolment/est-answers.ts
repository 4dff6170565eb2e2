/** The answers of EST, complete: the worker hands them on as they are. One table from code to status and sentence. */
import type { ErrorCode } from '../../common/base/errors.ts';
import type { EstAnswer } from '../../common/ipc/control-calls.ts';
import { toBase64, certsOnly } from './certs-only.ts';
import { csrAttributes } from './csr-attributes.ts';
import type { AskedOfDevices } from './csr-attributes.ts';

/** RFC 7030 sections 4.1.3 and 4.2.3. @param certificates DER. */
export function certificatesAnswer(certificates: readonly Uint8Array[]): EstAnswer {
  return encoded('application/pkcs7-mime; smime-type=certs-only', certsOnly(certificates));
}

/** RFC 7030 section 4.5.2. */
export function attributesAnswer(asked: AskedOfDevices): EstAnswer {
  return encoded('application/csrattrs', csrAttributes(asked));
}

/** The same request is to come again (RFC 7030 section 4.2.3). */
export function pendingAnswer(number: number, retryAfterMs: number): EstAnswer {
  const text = `pending: an operator has to approve request ${number}; send the same request again later.`;
  return plain(202, text, { 'retry-after': seconds(retryAfterMs) });
}

/** What is asked for is not here, or not with this method; nothing that a certificate or token would change. */
export const notFoundAnswer = plain(404, 'not-found: there is no such operation.');

export function methodAnswer(allowed: string): EstAnswer {
  return plain(405, `not-found: this operation is asked for with ${allowed}.`, { allow: allowed });
}

/** RFC 7030 section 4.4 leaves it to the server: a private key is made where it is used. */
export const notImplementedAnswer = plain(
  501,
  'forbidden: this gateway makes and sends no private keys, and no full CMC; use simpleenroll.',
);

/** The type of a request is that of PKCS #10 (RFC 7030 section 4.2.1). */
export const wrongTypeAnswer = plain(
  415,
  'malformed: the request has to be application/pkcs10: the DER of PKCS #10 in base64.',
);

interface Refusal {
  readonly status: number;
  readonly sentence: string;
}

const busy: Refusal = { status: 503, sentence: 'try again later.' };
const unauthenticated: Refusal = {
  status: 401,
  sentence:
    'enrolling takes a token that the operator has made and that is still good (HTTP Basic: any name, the token as password; or Bearer), or a certificate that this gateway accepts.',
};
const badRequest: Refusal = {
  status: 400,
  sentence:
    'the request has to be one PKCS #10 in base64, signed by its own key: P-256, P-384, Ed25519 or RSA from 2048 bits on; its only name is the id of the device (CN), and it asks for nothing that the CA does not give by itself. The audit log of the gateway says what is wrong.',
};
const forbidden: Refusal = {
  status: 403,
  sentence:
    'this is not for the one who asks: another device, too early to renew, denied, or for new devices only. The audit log of the gateway says which.',
};

/** What a peer is told of a refusal: whoever may know more finds it in the audit log. */
const refusals: Readonly<Partial<Record<ErrorCode, Refusal>>> = Object.freeze({
  unauthenticated,
  integrity: unauthenticated,
  'invalid-certificate': unauthenticated,
  forbidden,
  standing: forbidden,
  'wrong-standing': forbidden,
  'already-exists': forbidden,
  'invalid-csr': badRequest,
  malformed: badRequest,
  'too-large': { status: 413, sentence: 'the request is too large.' },
  rate: { status: 429, sentence: 'too many attempts; wait before the next one.' },
  quota: { status: 503, sentence: 'too many requests wait for an operator; try again later.' },
});

/** Codes of what is not this gateway's public affair are told as the one that they look like from outside. */
const toldAs: Readonly<Partial<Record<ErrorCode, ErrorCode>>> = Object.freeze({
  integrity: 'unauthenticated',
  'invalid-certificate': 'unauthenticated',
  'wrong-standing': 'standing',
  'already-exists': 'forbidden',
});

export function refusalAnswer(code: ErrorCode, retryAfterMs: number): EstAnswer {
  const known = refusals[code];
  const { status, sentence } = known ?? busy;
  const told = known === undefined ? 'unavailable' : (toldAs[code] ?? code);
  return plain(status, `${told}: ${sentence}`, {
    ...(status === 401 ? { 'www-authenticate': challenges } : {}),
    ...(status === 429 || status === 503 ? { 'retry-after': seconds(retryAfterMs) } : {}),
  });
}

const challenges = 'Basic realm="enrolment", charset="UTF-8", Bearer realm="enrolment"';

/** `Content-Transfer-Encoding` for clients of RFC 7030; those of RFC 8951 pass it over. */
function encoded(type: string, der: Uint8Array): EstAnswer {
  return {
    status: 200,
    headers: { 'content-type': type, 'content-transfer-encoding': 'base64' },
    body: toBase64(der).toString('base64'),
  };
}

function plain(
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): EstAnswer {
  return {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
    body: Buffer.from(`${text}\n`).toString('base64'),
  };
}

function seconds(ms: number): string {
  return String(Math.max(1, Math.ceil(ms / 1_000)));
}
