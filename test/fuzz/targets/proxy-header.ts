/** The header of the PROXY protocol, which comes before TLS. */
import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { fixedBytes, readFixedPart, sourceIn } from '../../../src/worker/transport/proxy-header.ts';
import type { FuzzTarget } from '../fuzz.ts';

const maxHeaderBytes = 552;

function check(input: Buffer): void {
  const fixed = readFixedPart(input.subarray(0, fixedBytes));
  if (!fixed.ok) {
    assert.notEqual(fixed.problem, '');
    return;
  }
  assert.ok(fixedBytes + fixed.restBytes <= maxHeaderBytes, 'a longer header than there may be');
  const rest = input.subarray(fixedBytes, fixedBytes + fixed.restBytes);
  if (fixed.family === undefined || rest.length < fixed.restBytes) return;
  assert.equal(fixed.command, 'proxy');
  const { address, port } = sourceIn(fixed.family, rest);
  assert.ok(fixed.family === 0x11 ? isIPv4(address) : isIPv6(address), address);
  assert.ok(Number.isInteger(port) && port >= 0 && port <= 65_535, String(port));
}

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

function header(command: number, family: number, rest: Buffer): Buffer {
  const fixed = Buffer.from([...signature, command, family, rest.length >> 8, rest.length & 0xff]);
  return Buffer.concat([fixed, rest]);
}

export const proxyHeader: FuzzTarget = {
  seeds: [
    header(0x20, 0, Buffer.alloc(0)),
    header(0x21, 0x11, Buffer.from([192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x22, 0xb3])),
    header(0x21, 0x21, Buffer.concat([Buffer.alloc(10), Buffer.of(0xff, 0xff), Buffer.alloc(24)])),
    header(0x21, 0x11, Buffer.alloc(536)),
  ],
  words: [signature, Buffer.of(0x02, 0x18), Buffer.of(0x21, 0x21)],
  maxBytes: 600,
  check,
};
