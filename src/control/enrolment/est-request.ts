/** What a worker hands over of a request of EST, after it has been looked at. A worker is untrusted: every field is checked. */
import { isIP } from 'node:net';
import { SallyportError } from '../../common/base/errors.ts';

const maxNameCharacters = 128;
/** A token is 43 characters; a name before it in HTTP Basic may be as long as a device's id. */
const maxAuthorizationCharacters = 1_024;
const maxContentTypeCharacters = 256;
const maxCertificateCharacters = 64 * 1024;

export interface EstRequest {
  readonly operation: string;
  readonly label: string | undefined;
  readonly method: string;
  /** An IP address, or `unknown`. */
  readonly address: string;
  /** DER of the certificate whose key the handshake has proven. */
  readonly certificate: Buffer | undefined;
  /** The secret of HTTP Basic or Bearer; empty when the header says something else. */
  readonly secret: string | undefined;
  /** Without parameters, in lower case. */
  readonly contentType: string | undefined;
  /** The body as text. */
  readonly body: string;
}

/** @param maxBody characters of the body. @throws SallyportError `malformed`, `too-large`. */
export function readEstRequest(
  fields: Readonly<Record<string, unknown>>,
  maxBody: number,
): EstRequest {
  const body = optional(fields, 'body', Math.ceil((maxBody + 1) / 3) * 4, 'too-large') ?? '';
  const text = Buffer.from(body, 'base64').toString('latin1');
  if (text.length > maxBody) throw new SallyportError('too-large', 'the request is too large');
  const certificate = optional(fields, 'certificate', maxCertificateCharacters);
  const authorization = optional(fields, 'authorization', maxAuthorizationCharacters);
  const address = optional(fields, 'address', maxNameCharacters)?.split('%', 1)[0] ?? '';
  return {
    operation: optional(fields, 'operation', maxNameCharacters) ?? '',
    label: optional(fields, 'label', maxNameCharacters),
    method: optional(fields, 'method', maxNameCharacters) ?? '',
    address: isIP(address) === 0 ? 'unknown' : address,
    certificate: certificate === undefined ? undefined : Buffer.from(certificate, 'base64'),
    secret: authorization === undefined ? undefined : secretOf(authorization),
    contentType: optional(fields, 'contentType', maxContentTypeCharacters)
      ?.split(';', 1)[0]
      ?.trim()
      .toLowerCase(),
    body: text,
  };
}

function optional(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  maxCharacters: number,
  tooLong: 'malformed' | 'too-large' = 'malformed',
): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw new SallyportError('malformed', `${name} is no text`);
  if (value.length > maxCharacters) throw new SallyportError(tooLong, `${name} is too long`);
  return value;
}

/** HTTP Basic (RFC 7617) or Bearer (RFC 6750). The user name of Basic means nothing: a token says what it is for. */
function secretOf(authorization: string): string {
  const [, scheme = '', credentials = ''] = /^([A-Za-z]+) +(\S+) *$/.exec(authorization) ?? [];
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return credentials;
    case 'basic': {
      const pair = Buffer.from(credentials, 'base64').toString('utf8');
      const colon = pair.indexOf(':');
      return colon < 0 ? '' : pair.slice(colon + 1);
    }
    default:
      return '';
  }
}
