/**
 * The binary header of the PROXY protocol, version 2 (HAProxy, "The PROXY protocol", §2.2), with which a load balancer
 * says whose connection it passes on. TCP over IPv4 and IPv6 only; the text of version 1 is no header here.
 */
import { SocketAddress } from 'node:net';

/** Where a connection comes from. */
export interface ConnectionSource {
  readonly address: string;
  readonly port: number;
}

/** Signature, version and command, family and transport, length. */
export const fixedBytes = 16;
/** After the fixed part: two IPv6 addresses with ports, and 500 bytes of TLVs that nobody reads. */
const maxRestBytes = 536;

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const addressBytes = { 0x11: 12, 0x21: 36 } as const;

export type FixedPart =
  | {
      readonly ok: true;
      /** `local`: the balancer speaks for itself, to see whether we live. */
      readonly command: 'local' | 'proxy';
      readonly family: 0x11 | 0x21 | undefined;
      /** What follows before the first byte of TLS. */
      readonly restBytes: number;
    }
  | { readonly ok: false; readonly problem: string };

/** @param head the first `fixedBytes` bytes. */
export function readFixedPart(head: Buffer): FixedPart {
  if (head.length !== fixedBytes || !head.subarray(0, signature.length).equals(signature))
    return refused('no PROXY header of version 2');
  const [versionCommand = 0, familyByte = 0] = head.subarray(12);
  if (versionCommand !== 0x20 && versionCommand !== 0x21)
    return refused('an unknown version or command');
  const restBytes = head.readUInt16BE(14);
  if (restBytes > maxRestBytes) return refused('the header is too long');
  if (versionCommand === 0x20) return { ok: true, command: 'local', family: undefined, restBytes };
  if (familyByte !== 0x11 && familyByte !== 0x21)
    return refused('neither TCP over IPv4 nor over IPv6');
  if (restBytes < addressBytes[familyByte]) return refused('the addresses are cut off');
  return { ok: true, command: 'proxy', family: familyByte, restBytes };
}

/** The peer of the balancer. @param rest the `restBytes` bytes after a fixed part whose command is `proxy`. */
export function sourceIn(family: 0x11 | 0x21, rest: Buffer): ConnectionSource {
  if (family === 0x11) {
    return { address: rest.subarray(0, 4).join('.'), port: rest.readUInt16BE(8) };
  }
  const groups = Array.from({ length: 8 }, (_, i) => rest.readUInt16BE(2 * i).toString(16));
  // In the one spelling that all others compare with.
  const { address } = new SocketAddress({ address: groups.join(':'), family: 'ipv6' });
  return { address, port: rest.readUInt16BE(32) };
}

function refused(problem: string): FixedPart {
  return { ok: false, problem };
}
