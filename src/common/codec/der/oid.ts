/**
 * Object identifiers between their content octets (X.690 section 8.19) and dotted decimal text.
 */
import { SallyportError } from '../../base/errors.ts';

/** More arcs or longer ones serve no certificate; the bound stops identifiers that are only there to cost time. */
const maxOidBytes = 64;

/** @throws SallyportError `malformed` when the octets are not one minimally encoded identifier. */
export function decodeOid(content: Uint8Array): string {
  if (content.length === 0 || content.length > maxOidBytes) throw malformed('empty or too long');
  let text = '';
  let arc = 0;
  let startsArc = true;
  for (const octet of content) {
    // A leading 0x80 would give one identifier several encodings (X.690 section 8.19.2).
    if (startsArc && octet === 0x80) throw malformed('padded arc');
    if (arc > Number.MAX_SAFE_INTEGER / 128 - 1) throw malformed('arc too large');
    arc = arc * 128 + (octet & 0x7f);
    startsArc = octet < 0x80;
    if (!startsArc) continue;
    text = text === '' ? firstTwoArcs(arc) : `${text}.${arc}`;
    arc = 0;
  }
  if (!startsArc) throw malformed('cut off');
  return text;
}

/** @throws SallyportError `malformed` when `text` is not a dotted identifier of at least two arcs. */
export function encodeOid(text: string): Buffer {
  const arcs = text
    .split('.')
    .map((part) => (/^(0|[1-9]\d{0,15})$/.test(part) ? Number(part) : -1));
  const [first = -1, second = -1, ...rest] = arcs;
  if (first < 0 || first > 2 || second < 0 || (first < 2 && second > 39)) {
    throw malformed(`"${text}"`);
  }
  const octets: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    if (arc < 0 || arc > Number.MAX_SAFE_INTEGER) throw malformed(`"${text}"`);
    const group = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      group.unshift((left % 128) | 0x80);
    }
    octets.push(...group);
  }
  return Buffer.from(octets);
}

function firstTwoArcs(joined: number): string {
  const first = Math.min(Math.floor(joined / 40), 2);
  return `${first}.${joined - first * 40}`;
}

function malformed(detail: string): SallyportError {
  return new SallyportError('malformed', `DER object identifier: ${detail}`);
}
