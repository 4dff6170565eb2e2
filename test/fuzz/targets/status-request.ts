/** A request of a stranger to the status listener, cut in two anywhere. */
import assert from 'node:assert/strict';
import { RequestReader } from '../../../src/worker/listeners/status/request-reader.ts';
import type { FuzzTarget } from '../fuzz.ts';

const limits = { headerBytes: 512, headers: 8, ocspRequestBytes: 64 };

/** Everything that is read until more would be needed, as text. */
function read(chunks: readonly Buffer[]): string[] {
  const reader = new RequestReader(() => limits);
  const found: string[] = [];
  for (const chunk of chunks) {
    reader.add(chunk);
    for (;;) {
      const reading = reader.next();
      // Whether the peer still waits to be told depends on where its bytes are cut.
      if (reading === 'continue') continue;
      if (reading === 'more') break;
      if ('refusal' in reading) {
        assert.ok(reading.refusal.status >= 400 && reading.refusal.status < 500);
        found.push(`refused ${reading.refusal.status}`);
        return found;
      }
      const { method, target, body } = reading;
      assert.match(target, /^\/[\x21-\x7e]*$/);
      assert.ok(body.length <= (method === 'POST' ? limits.ocspRequestBytes : 0));
      found.push(`${method} ${target} ${body.toString('hex')}`);
    }
  }
  return found;
}

function check(input: Buffer): void {
  // The first octet says where the rest is cut.
  const bytes = input.subarray(1);
  const at = Math.min(bytes.length, input[0] ?? 0);
  const whole = read([bytes]);
  assert.deepEqual(read([bytes.subarray(0, at), bytes.subarray(at)]), whole);
}

const get = '\x10GET /time?nonce=abc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
const post =
  '\x40POST /ocsp HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n\x30\x03\0\0\0';

export const statusRequest: FuzzTarget = {
  seeds: [get, post, get + get.slice(1), `\x05${post.slice(1)}${get.slice(1)}`].map((text) =>
    Buffer.from(text, 'latin1'),
  ),
  words: [
    '\r\n\r\n',
    'Content-Length: 64',
    'Transfer-Encoding: chunked',
    'Host: b',
    ' HTTP/1.1',
  ].map((text) => Buffer.from(text)),
  maxBytes: 700,
  check,
};
