/** Requests as bytes, for connections on which a test says everything itself. */

/** A request in good order, but for what the lines say. The body is Latin-1, as everything that `RawHttps` sends. */
export function requestText(
  method: string,
  path: string,
  body?: string,
  ...lines: readonly string[]
): string {
  const length = body === undefined ? [] : [`Content-Length: ${body.length}`];
  const head = [`${method} ${path} HTTP/1.1`, 'Host: localhost', ...length, ...lines];
  return `${head.join('\r\n')}\r\n\r\n${body ?? ''}`;
}

/** A reading to be published. */
export function telemetryText(body: string, ...lines: readonly string[]): string {
  return requestText('POST', '/api/v1/telemetry', body, ...lines);
}

/** Names and values, or pairs of them where a name comes twice. */
type Lines = Readonly<Record<string, string>> | readonly (readonly [string, string])[];

/** A request with these header lines, and the length of its body when it has one. */
export function requestWith(method: string, target: string, lines: Lines, body?: string): string {
  const pairs = Array.isArray(lines) ? lines : Object.entries(lines);
  return requestText(method, target, body, ...pairs.map(([name, value]) => `${name}: ${value}`));
}
