/** PEM as RFC 7468 writes it; whatever stands outside the lines of a block is ignored, as that standard allows. */
import { SallyportError } from '../../base/errors.ts';

/** One block. @returns text that ends with a newline. */
export function encodePem(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der.buffer, der.byteOffset, der.length)
    .toString('base64')
    .match(/.{1,64}/g);
  return `-----BEGIN ${label}-----\n${(lines ?? []).join('\n')}\n-----END ${label}-----\n`;
}

/**
 * The content of every block with this label, in order.
 *
 * @throws SallyportError `malformed` when a block is not closed or not base64.
 */
export function decodePem(label: string, text: string): Buffer[] {
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  const blocks: Buffer[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const bodyStart = at + begin.length;
    const bodyEnd = text.indexOf(end, bodyStart);
    if (bodyEnd < 0) throw new SallyportError('malformed', `PEM: ${label} is cut off`);
    blocks.push(decodeBase64(text.slice(bodyStart, bodyEnd).replace(/\s+/g, ''), label));
    at = bodyEnd + end.length;
  }
  return blocks;
}

function decodeBase64(body: string, label: string): Buffer {
  const der = Buffer.from(body, 'base64');
  // Buffer skips what is not base64; only a body that comes back the same was one.
  if (body === '' || der.toString('base64') !== body) {
    throw new SallyportError('malformed', `PEM: ${label} is not base64`);
  }
  return der;
}
