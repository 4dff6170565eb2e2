/**
 * What the status listener answers, and its bytes. Nothing in it names the software: no `Server`, no version, no words
 * beside the status of HTTP.
 */
import { STATUS_CODES } from 'node:http';

export interface Answer {
  readonly status: number;
  /** Lines, each ended; those of every answer are added when it is sent. */
  readonly headers: string;
  readonly body: Buffer;
}

const noBody = Buffer.alloc(0);

function empty(status: number, headers = ''): Answer {
  return Object.freeze({ status, headers, body: noBody });
}

export const notFound = empty(404);
export const malformed = empty(400);
export const timedOut = empty(408);
export const lengthRequired = empty(411);
export const tooLarge = empty(413);
export const headersTooLarge = empty(431);
export const tooMany = empty(429, 'Retry-After: 1\r\n');
export const unavailable = empty(503, 'Retry-After: 5\r\n');
export const internal = empty(500);

/** RFC 6960 section 4.2.1: an OCSPResponse that is its status alone. HTTP has nothing to complain of. */
function ocspRefusal(status: number): Answer {
  const body = Buffer.from([0x30, 0x03, 0x0a, 0x01, status]);
  return Object.freeze({ status: 200, headers: `${ocspType}Cache-Control: no-store\r\n`, body });
}

const ocspType = 'Content-Type: application/ocsp-response\r\n';
export const ocspMalformed = ocspRefusal(1);
export const ocspTryLater = ocspRefusal(3);

/** RFC 5019 section 6.2: how long caches on the way may hold it. Nothing, for an answer that is for one request. */
export function ocspAnswer(body: Buffer, fresh: OcspFreshness | undefined): Answer {
  const caching =
    fresh === undefined
      ? 'Cache-Control: no-store\r\n'
      : `ETag: "${fresh.tag}"\r\nExpires: ${fresh.expires}\r\nCache-Control: max-age=${fresh.seconds}, public, no-transform, must-revalidate\r\n`;
  return { status: 200, headers: ocspType + caching, body };
}

export interface OcspFreshness {
  readonly tag: string;
  /** As HTTP writes dates. */
  readonly expires: string;
  readonly seconds: number;
}

/**
 * @param etag quoted.
 * @param had `If-None-Match`: who has it already is told so, and gets no body.
 */
export function document(
  type: string,
  body: Buffer,
  etag: string,
  maxAgeSeconds: number,
  had: string | undefined,
): Answer {
  const headers = `Content-Type: ${type}\r\nETag: ${etag}\r\nCache-Control: public, max-age=${maxAgeSeconds}\r\n`;
  return isAmong(etag, had) ? empty(304, headers) : { status: 200, headers, body };
}

/** RFC 9110 section 13.1.2: one of several, compared as if none were weak. */
function isAmong(etag: string, had: string | undefined): boolean {
  return had?.split(',').some((one) => one.trim().replace(/^W\//, '') === etag) ?? false;
}

export function signedTime(jws: string): Answer {
  const headers = 'Content-Type: application/jose\r\nCache-Control: no-store\r\n';
  return { status: 200, headers, body: Buffer.from(jws, 'latin1') };
}

/**
 * The answer up to its body.
 *
 * @param date as HTTP writes dates.
 */
export function headOf({ status, headers, body }: Answer, date: string, closes: boolean): string {
  // RFC 9110 section 8.6: 304 has no body, and its length would be taken for that of what it stands for.
  const length = status === 304 ? '' : `Content-Length: ${body.length}\r\n`;
  const end = closes ? 'Connection: close\r\n' : '';
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${headers}${length}Date: ${date}\r\n${end}\r\n`;
}
