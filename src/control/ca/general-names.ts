/** GeneralName (RFC 5280 section 4.2.1.6) of the kinds that our certificates carry. */
import { isIP } from 'node:net';
import { SallyportError } from '../../common/base/errors.ts';
import { contextPrimitive } from '../../common/codec/der/tag.ts';
import { element } from '../../common/codec/der/writer.ts';

const dnsPattern =
  /^(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/;

export function uriName(uri: string): Buffer {
  return element(contextPrimitive(6), Buffer.from(uri, 'latin1'));
}

/** An IP address or a DNS name. @throws SallyportError `invalid-config` when it is neither. */
export function serverName(name: string): Buffer {
  if (isIP(name) !== 0) return element(contextPrimitive(7), addressOctets(name));
  if (name.length > 253 || !dnsPattern.test(name)) {
    throw new SallyportError('invalid-config', `"${name}" is not a server name`, {
      hint: 'serverNames holds DNS names and IP addresses; write other scripts in punycode',
    });
  }
  return element(contextPrimitive(2), Buffer.from(name, 'latin1'));
}

/** The octets of an address that `isIP` knows, in network order. */
export function addressOctets(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [plain = ''] = address.split('%');
  const [head = '', tail] = plain.split('::');
  const before = hextets(head);
  const after = tail === undefined ? [] : hextets(tail);
  const middle = Array<number>(8 - before.length - after.length).fill(0);
  return Buffer.from([...before, ...middle, ...after].flatMap((part) => [part >> 8, part & 0xff]));
}

function hextets(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((part) => {
    if (!part.includes('.')) return [Number.parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}
