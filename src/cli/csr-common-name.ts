/**
 * The common name in a certificate signing request (RFC 2986 §4.1), to know which device a file is for. Nothing is
 * verified here: the gateway judges the request, and refuses one whose subject is not the device it was asked for.
 */
const commonNameOid = '550403';
const sequence = 0x30;
const set = 0x31;
const objectIdentifier = 0x06;
const utf8String = 0x0c;
const printableString = 0x13;
const ia5String = 0x16;

interface Element {
  readonly tag: number;
  readonly content: Buffer;
}

/** Undefined when it is no request, or names none or several. */
export function csrCommonName(pem: string): string | undefined {
  const base64 = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END/.exec(
    pem,
  )?.[1];
  if (base64 === undefined) return undefined;
  const [request] = elements(Buffer.from(base64, 'base64'));
  const [info] = elements(contentOf(request, sequence));
  const [, subject] = elements(contentOf(info, sequence));
  const names = elements(contentOf(subject, sequence))
    .flatMap((rdn) => elements(contentOf(rdn, set)))
    .map((attribute) => elements(contentOf(attribute, sequence)))
    .filter(([type]) => contentOf(type, objectIdentifier).toString('hex') === commonNameOid)
    .map(([, value]) => value);
  const [name] = names;
  if (names.length !== 1 || name === undefined) return undefined;
  const isText = [utf8String, printableString, ia5String].includes(name.tag);
  return isText ? name.content.toString('utf8') : undefined;
}

function contentOf(element: Element | undefined, tag: number): Buffer {
  return element?.tag === tag ? element.content : Buffer.alloc(0);
}

/** The elements side by side in `bytes`, X.690 §8.1 with definite lengths; ends at the first that does not fit. */
function elements(bytes: Buffer): readonly Element[] {
  const found: Element[] = [];
  let at = 0;
  while (at + 2 <= bytes.length) {
    const tag = bytes.readUInt8(at);
    const first = bytes.readUInt8(at + 1);
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    const start = at + 2 + lengthBytes;
    if (lengthBytes > 3 || first === 0x80 || start > bytes.length) break;
    const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes);
    if (start + length > bytes.length) break;
    found.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}
