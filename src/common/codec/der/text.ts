/** The string types of a distinguished name, decoded to text without repair (X.680 section 41, RFC 5280 section 4.1.2.4). */
import { SallyportError } from '../../base/errors.ts';
import { tag } from './tag.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Every character is kept, NUL and control characters included: who maps text to a principal must see them to refuse
 * them.
 *
 * @throws SallyportError `malformed` when the octets are not of the type that `tagOctet` announces.
 */
export function decodeText(tagOctet: number, content: Buffer): string {
  switch (tagOctet) {
    case tag.utf8String:
      return decodeUtf8(content);
    case tag.printableString:
    case tag.ia5String:
      if (!isAscii(content)) throw malformed('not ASCII');
      return content.toString('latin1');
    case tag.teletexString:
      return content.toString('latin1');
    case tag.bmpString:
      if (content.length % 2 !== 0) throw malformed('odd length of a BMPString');
      return Buffer.from(content).swap16().toString('utf16le');
    case tag.universalString:
      return decodeUniversal(content);
    default:
      throw malformed(`tag 0x${tagOctet.toString(16)} is not a string`);
  }
}

function decodeUtf8(content: Buffer): string {
  if (isAscii(content)) return content.toString('latin1');
  try {
    return utf8.decode(content);
  } catch (thrown) {
    throw new SallyportError('malformed', 'DER string: not UTF-8', { cause: thrown });
  }
}

function decodeUniversal(content: Buffer): string {
  if (content.length % 4 !== 0) throw malformed('length of a UniversalString');
  let text = '';
  for (let at = 0; at < content.length; at += 4) {
    const point = content.readUInt32BE(at);
    if (point > 0x10ffff) throw malformed('not a code point');
    text += String.fromCodePoint(point);
  }
  return text;
}

function isAscii(content: Buffer): boolean {
  for (const octet of content) if (octet > 0x7f) return false;
  return true;
}

function malformed(detail: string): SallyportError {
  return new SallyportError('malformed', `DER string: ${detail}`);
}
