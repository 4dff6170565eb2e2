/** Requests out of pieces, for tests. */
import assert from 'node:assert/strict';
import { RequestParser } from './request-parser.ts';
import type { RequestDefect, RequestText } from './request-parser.ts';

export const headerBytes = 1_024;

interface Request {
  readonly text: RequestText;
  readonly body: string;
}

export interface Outcome {
  /** Those that are complete. */
  readonly requests: readonly Request[];
  /** Of the one that is not. */
  readonly begun: RequestText | undefined;
  readonly defect: RequestDefect | undefined;
}

/** Reads the pieces as a connection would: request after request, until a defect. */
export function parse(pieces: readonly (string | Buffer)[], bytes = headerBytes): Outcome {
  const parser = new RequestParser(bytes);
  const requests: Request[] = [];
  let text: RequestText | undefined;
  let body = '';
  for (const piece of pieces) {
    // A copy: the parser writes into what it reads.
    let input = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : Buffer.from(piece);
    while (input.length > 0) {
      const reading = parser.read(input);
      if ('defect' in reading) return { requests, begun: undefined, defect: reading };
      assert.ok(text === undefined || reading.request === undefined, 'one head');
      assert.ok(reading.rest < input.length, 'something is read');
      assert.ok(reading.complete || reading.rest === 0, 'nothing is left of what goes on');
      text ??= reading.request;
      body += reading.body?.toString('latin1') ?? '';
      input = input.subarray(input.length - reading.rest);
      if (!reading.complete) continue;
      assert.ok(text !== undefined, 'a head before its end');
      requests.push({ text, body });
      text = undefined;
      body = '';
    }
  }
  return { requests, begun: text, defect: undefined };
}

/** The worst way in which they may come. */
export function byteByByte(text: string): string[] {
  return text.split('');
}

export const line = 'POST /a HTTP/1.1\r\n';
export const inChunks = `${line}Transfer-Encoding: chunked\r\n\r\n`;
export const bare = 'GET /?b HTTP/1.1\r\nHost: a\r\n\r\n';
/** Comes after what must not be two requests, so that it is seen when it is taken for the second. */
export const next = 'GET /next HTTP/1.1\r\nHost: a\r\n\r\n';
