/** An HTTP answer as tests look at it, whichever client read it. */
import type { IncomingMessage } from 'node:http';

export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case; several lines of one name are joined with `, ` (RFC 9110 §5.3). */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Larger than anything that a gateway answers with. */
const maxBodyBytes = 32 * 1024 * 1024;

/** @throws Error when the connection ends before the answer does. */
export async function readAnswer(response: IncomingMessage): Promise<HttpAnswer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    const piece = chunk as Buffer; // an IncomingMessage without an encoding yields Buffers only
    bytes += piece.length;
    if (bytes > maxBodyBytes) throw new Error(`an answer of more than ${maxBodyBytes} bytes`);
    chunks.push(piece);
  }
  return {
    status: response.statusCode ?? 0,
    headers: headersOf(response),
    body: Buffer.concat(chunks, bytes),
  };
}

export function headersOf(response: IncomingMessage): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(response.headersDistinct).map(([name, values = []]) => [
      name,
      values.join(', '),
    ]),
  );
}

export function textOf(answer: HttpAnswer): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(answer.body);
}

export function jsonOf(answer: HttpAnswer): unknown {
  return JSON.parse(textOf(answer));
}

/** `code` of a problem document (RFC 9457); undefined when the answer is none. */
export function problemCode(answer: HttpAnswer): string | undefined {
  if (answer.headers.get('content-type') !== 'application/problem+json') return undefined;
  const problem = jsonOf(answer);
  return typeof problem === 'object' && problem !== null && 'code' in problem
    ? String(problem.code)
    : undefined;
}
