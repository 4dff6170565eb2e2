/** A request as it is written to a server (RFC 9112 §3, §5). */
import { SallyportError } from '../../../common/base/errors.ts';

const methodPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/;
const targetPattern = /^\/[\x21-\x7e]*$/;
/** RFC 9110 §5.1, §5.5. */
const linePattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*$/;

/** @throws SallyportError `malformed` for what cannot stand in a request line. CONNECT asks for another thing. */
export function requestLine(method: string, target: string): string {
  if (!methodPattern.test(method) || method === 'CONNECT' || !targetPattern.test(target)) {
    throw new SallyportError('malformed', 'a request line that cannot be written');
  }
  return `${method} ${target} HTTP/1.1\r\n`;
}

/**
 * @param headers name and value in turn.
 * @throws SallyportError `malformed` for what would end a line, or the head, before its time.
 */
export function headerLines(headers: readonly string[]): string {
  let lines = '';
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? '';
    const line = `${name}: ${headers[i + 1]}`;
    // Of a name with a colon in it, a part would be the name.
    if (!linePattern.test(line) || line.indexOf(':') !== name.length) {
      throw new SallyportError('malformed', 'a header that cannot be written');
    }
    lines += `${line}\r\n`;
  }
  return lines;
}

/** RFC 9112 §6.2: the length is said, also that of a body that could be there and is not. */
export function framingLines(
  method: string,
  body: Buffer | { readonly bytes: number | undefined } | undefined,
): string {
  if (body === undefined) return withBody.has(method) ? 'Content-Length: 0\r\n' : '';
  const bytes = Buffer.isBuffer(body) ? body.length : body.bytes;
  return bytes === undefined ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${bytes}\r\n`;
}

const withBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/**
 * Path and query as the upstream is asked for them.
 *
 * @param routePath the route's: `/a/b` is that path alone, `/a/` everything below it, with as many segments as it names.
 * @param rewrite instead of what the route names; undefined = the path as it is.
 */
export function targetOf(
  path: string,
  query: string | undefined,
  routePath: string,
  rewrite: string | undefined,
): string {
  const asked = rewrite === undefined ? path : rewritten(path, routePath, rewrite);
  return query === undefined ? asked : `${asked}?${query}`;
}

function rewritten(path: string, routePath: string, rewrite: string): string {
  if (!routePath.endsWith('/')) return rewrite;
  let at = 0;
  for (let i = 1; i < routePath.length; i += 1) {
    if (routePath.charCodeAt(i) === 0x2f) at = path.indexOf('/', at + 1);
    if (at < 0) return rewrite;
  }
  return rewrite + path.slice(at + 1);
}
