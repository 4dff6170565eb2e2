/**
 * A distinguished name as one line of text (RFC 4514), as `openssl x509 -nameopt RFC2253` and nginx's
 * `$ssl_client_s_dn` write it: the last RDN first. All of it is visible ASCII, so that it can be a header field.
 */
import type { DerElement } from '../codec/der/reader.ts';
import { DerReader } from '../codec/der/reader.ts';
import { tag } from '../codec/der/tag.ts';
import { decodeText } from '../codec/der/text.ts';

/** Section 3, and the two that device certificates have besides (RFC 4519 section 2.31, RFC 2985 section 5.2.1). */
const shortNames: ReadonlyMap<string, string> = new Map([
  ['2.5.4.3', 'CN'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
  ['2.5.4.6', 'C'],
  ['2.5.4.9', 'street'],
  ['0.9.2342.19200300.100.1.25', 'DC'],
  ['0.9.2342.19200300.100.1.1', 'UID'],
  ['2.5.4.5', 'serialNumber'],
  ['1.2.840.113549.1.9.1', 'emailAddress'],
]);

/** @param der of a Name. @throws SallyportError `malformed` when it is none. */
export function nameText(der: Buffer): string {
  const outer = new DerReader(der);
  const name = outer.sequence();
  outer.end();
  const rdns: string[] = [];
  while (!name.atEnd) {
    const rdn = name.enter(tag.set);
    const attributes: string[] = [];
    while (!rdn.atEnd) {
      const attribute = rdn.sequence();
      const type = attribute.oid();
      const value = attribute.element();
      attribute.end();
      attributes.push(attributeText(type, value));
    }
    rdns.push(attributes.toReversed().join('+'));
  }
  return rdns.toReversed().join(',');
}

/** Section 2.4: a type without a name here, and a value that is no text, are written as the octets of their encoding. */
function attributeText(type: string, value: DerElement): string {
  const name = shortNames.get(type);
  const text = name === undefined ? undefined : textOf(value);
  if (text === undefined) return `${name ?? type}=#${value.raw.toString('hex').toUpperCase()}`;
  return `${name}=${escaped(text)}`;
}

function textOf({ tag: tagOctet, content }: DerElement): string | undefined {
  try {
    return decodeText(tagOctet, content);
  } catch {
    return undefined;
  }
}

function escaped(text: string): string {
  const body = text
    .replaceAll(/[,+"\\<>;]/g, (character) => `\\${character}`)
    .replaceAll(/[^\x20-\x7e]+/g, (characters) =>
      Buffer.from(characters)
        .toString('hex')
        .toUpperCase()
        .replaceAll(/../g, (octet) => `\\${octet}`),
    )
    .replace(/^[ #]/, (first) => `\\${first}`);
  // A space alone has been escaped already.
  return body.endsWith(' ') && body !== '\\ ' ? `${body.slice(0, -1)}\\ ` : body;
}
