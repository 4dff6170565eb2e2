/**
 * By which group the keys of a connection were agreed. node:tls tells that to clients only, but OpenSSL notes it in the
 * session, which both sides can have as DER. It costs some 7 µs, about a hundredth of a handshake.
 */
import type { TLSSocket } from 'node:tls';
import { DerReader } from '../../common/codec/der/reader.ts';
import { contextConstructed } from '../../common/codec/der/tag.ts';

/** Of SSL_SESSION in OpenSSL's ssl/ssl_asn1.c: `kex_group`, an explicitly tagged INTEGER. */
const groupTag = contextConstructed(19);

/** IANA's "TLS Supported Groups", those that the configuration can name. */
const names: ReadonlyMap<number, string> = new Map([
  [23, 'P-256'],
  [24, 'P-384'],
  [29, 'X25519'],
  [4_588, 'X25519MLKEM768'],
]);

/**
 * The group, in the configuration's spelling; its number for one that has no name there; `none` when keys of an earlier
 * connection were taken up without an exchange, as TLS 1.2 resumes (RFC 5246 section 7.3).
 */
export function keyExchangeGroup(socket: TLSSocket): string {
  if (socket.isSessionReused() && socket.getProtocol() === 'TLSv1.2') return 'none';
  const session = socket.getSession();
  return (session === undefined ? undefined : groupOf(session)) ?? 'unknown';
}

/** Of OpenSSL's own making: what is not as expected is a new version's and no reason to refuse a connection. */
function groupOf(session: Buffer): string | undefined {
  try {
    const fields = new DerReader(session).sequence();
    while (!fields.atEnd) {
      if (fields.nextTag !== groupTag) fields.element();
      else {
        const number = fields.enter(groupTag).smallInteger();
        return names.get(number) ?? String(number);
      }
    }
  } catch {
    return undefined;
  }
  return undefined;
}
