/**
 * UTCTime and GeneralizedTime in the one form RFC 5280 section 4.1.2.5 allows: seconds present, no fraction, `Z`.
 * Times are milliseconds since 1970-01-01 UTC.
 */
import { SallyportError } from '../../base/errors.ts';
import { tag } from './tag.ts';

/** @throws SallyportError `malformed` when the text is not such a time or names a day that does not exist. */
export function decodeTime(tagOctet: number, content: Uint8Array): number {
  const isUtc = tagOctet === tag.utcTime;
  if (!isUtc && tagOctet !== tag.generalizedTime) throw malformed();
  const yearDigits = isUtc ? 2 : 4;
  if (content.length !== yearDigits + 11 || content[yearDigits + 10] !== 0x5a) throw malformed();

  let year = digits(content, 0, yearDigits);
  if (isUtc) year += year >= 50 ? 1900 : 2000;
  const month = digits(content, yearDigits, 2);
  const day = digits(content, yearDigits + 2, 2);
  const hour = digits(content, yearDigits + 4, 2);
  const minute = digits(content, yearDigits + 6, 2);
  const second = digits(content, yearDigits + 8, 2);
  const time = new Date(0);
  time.setUTCFullYear(year, month - 1, day);
  time.setUTCHours(hour, minute, second);
  // Date carries an overflow into the next field; a time that comes back different was not a time.
  const exists =
    time.getUTCMonth() === month - 1 &&
    time.getUTCDate() === day &&
    time.getUTCHours() === hour &&
    time.getUTCMinutes() === minute &&
    time.getUTCSeconds() === second;
  if (!exists) throw malformed();
  return time.getTime();
}

/** Tag and content of the form that RFC 5280 prescribes: UTCTime through 2049, GeneralizedTime from 2050 on. */
export function encodeTime(timeMs: number): { tagOctet: number; content: Buffer } {
  const full = encodeGeneralizedTime(timeMs);
  const year = new Date(timeMs).getUTCFullYear();
  return year >= 1950 && year < 2050
    ? { tagOctet: tag.utcTime, content: full.subarray(2) }
    : { tagOctet: tag.generalizedTime, content: full };
}

/** The content of a GeneralizedTime, for where no other is allowed (RFC 6960 section 4.2.2.1). */
export function encodeGeneralizedTime(timeMs: number): Buffer {
  const time = new Date(timeMs);
  const year = time.getUTCFullYear();
  if (!(year >= 0 && year <= 9999)) throw malformed();
  const full = time.toISOString().slice(0, 19).replace(/[-T:]/g, '');
  return Buffer.from(`${full}Z`, 'latin1');
}

function digits(content: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let i = at; i < at + count; i++) {
    const digit = (content[i] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) throw malformed();
    value = value * 10 + digit;
  }
  return value;
}

function malformed(): SallyportError {
  return new SallyportError('malformed', 'DER time: not a time as RFC 5280 prescribes');
}
