/**
 * Reads a request body as JSON, bounded before it is buffered.
 */
import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../../common/base/errors.ts';

/**
 * @throws SallyportError `too-large` as soon as the declared or received length passes `maxBytes`; `malformed` when the
 *   type is not `application/json` or the text is not a JSON object. Requiring the type keeps a web page from posting
 *   with an operator's certificate: a browser sends it across origins only after a preflight, which nothing answers.
 */
export async function readJsonBody(request: IncomingMessage, maxBytes: number): Promise<object> {
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase();
  if (type !== 'application/json') {
    throw new SallyportError('malformed', 'the body must be application/json');
  }
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    // An IncomingMessage without an encoding yields Buffers only.
    const piece = chunk as Buffer;
    bytes += piece.length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    chunks.push(piece);
  }
  return parseObject(Buffer.concat(chunks, bytes));
}

function tooLarge(maxBytes: number): SallyportError {
  return new SallyportError('too-large', `the body is larger than ${maxBytes} bytes`);
}

function parseObject(bytes: Buffer): object {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new SallyportError('malformed', 'the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new SallyportError('malformed', 'the body must be a JSON object');
  }
  return value;
}
