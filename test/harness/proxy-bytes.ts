/** PROXY protocol headers, version 2, as bytes: written from its specification and not from the code under test. */
import { isIPv6 } from 'node:net';

export interface ProxyHeaderBytes {
  /** Version and command; 0x21 = version 2, PROXY. */
  readonly command?: number;
  /** Family and transport; by default what the address is, over TCP. */
  readonly family?: number;
  readonly address?: string;
  readonly port?: number;
  /** In place of the address block. */
  readonly addresses?: Buffer;
  readonly tlvs?: Buffer;
}

export function proxyHeader({
  command = 0x21,
  address = '192.0.2.1',
  port = 50_000,
  family = isIPv6(address) ? 0x21 : 0x11,
  addresses = addressBlock(address, port),
  tlvs = Buffer.alloc(0),
}: ProxyHeaderBytes): Buffer {
  const length = addresses.length + tlvs.length;
  const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
  const facts = Buffer.from([command, family, length >> 8, length & 0xff]);
  return Buffer.concat([signature, facts, addresses, tlvs]);
}

function addressBlock(address: string, port: number): Buffer {
  const destination = isIPv6(address) ? ipv6('2001:db8::1') : Buffer.from([198, 51, 100, 1]);
  const source = isIPv6(address) ? ipv6(address) : Buffer.from(address.split('.').map(Number));
  const ports = Buffer.from([port >> 8, port & 0xff, 8_883 >> 8, 8_883 & 0xff]);
  return Buffer.concat([source, destination, ports]);
}

function ipv6(address: string): Buffer {
  const [head = '', tail = ''] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const groups = [...left, ...zeros, ...right].map((group) => group.padStart(4, '0'));
  return Buffer.from(groups.join(''), 'hex');
}
