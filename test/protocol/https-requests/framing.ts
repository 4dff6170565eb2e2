/**
 * Where one request ends and the next begins: everything that two readers of the same bytes have been known to read
 * differently. Behind each request of the tables stands one that must never be taken for a request of its own when the
 * one before it is refused (RFC 9112 §11.2).
 */
import { requestText, telemetryText } from '../../harness/https-text.ts';

export interface Row {
  readonly what: string;
  readonly bytes: string;
  /** Statuses in order. The connection ends after one that refuses the bytes. */
  readonly answers: readonly number[];
  /** Payloads that are published, in order. */
  readonly published: readonly string[];
}

/** The payload of what is hidden. */
export const hidden = '"smuggled"';
const smuggled = telemetryText(hidden);
/** What follows in good order. */
export const next = telemetryText('"next"');
const body = '"first"';

const target = 'POST /api/v1/telemetry HTTP/1.1';

function head(...lines: readonly string[]): string {
  return `${[target, 'Host: localhost', ...lines].join('\r\n')}\r\n\r\n`;
}

function chunked(chunks: string, line = 'Transfer-Encoding: chunked'): string {
  return head(line) + chunks;
}

const wholeChunks = `7\r\n${body}\r\n0\r\n\r\n`;

function refused(what: string, bytes: string, status = 400): Row {
  return { what, bytes: bytes + smuggled, answers: [status], published: [] };
}

/** Read as the standard reads it, and so is what follows. */
function accepted(what: string, bytes: string, payload = body): Row {
  return { what, bytes: bytes + next, answers: [202, 202], published: [payload, '"next"'] };
}

const bothLengths: readonly Row[] = [
  refused(
    'CL.TE',
    `${head('Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n${smuggled}`,
  ),
  refused(
    'TE.CL',
    head('Transfer-Encoding: chunked', `Content-Length: ${wholeChunks.length}`) + wholeChunks,
  ),
  refused('CL of all and TE', head('Transfer-Encoding: chunked', 'Content-Length: 0')),
  refused(
    'an obfuscated TE beside a CL',
    `${head('Content-Length: 5', 'Transfer-Encoding: xchunked')}0\r\n\r\n`,
  ),
];

const transferCodings: readonly Row[] = [
  'chunked, identity',
  'identity, chunked',
  'chunked, chunked',
  'gzip, chunked',
  'chunked, gzip',
  'identity',
  'gzip',
  'xchunked',
  'chunkedx',
  'x chunked',
  'chunked;q=1',
  '"chunked"',
  "'chunked'",
  ',chunked',
  'chunked,',
  'chunked\t, identity',
  '\x0bchunked',
  '\x0cchunked',
  'chunked\x0b',
  'chunked\x00',
  '\xa0chunked',
  'chun\u212aed'.replace('\u212a', '\xe2\x84\xaa'),
  '\rchunked',
  '\nchunked',
  '',
].map((coding) =>
  refused(`TE ${JSON.stringify(coding)}`, chunked(wholeChunks, `Transfer-Encoding: ${coding}`)),
);

const transferCodingLines: readonly Row[] = [
  accepted('TE in capitals', chunked(wholeChunks, 'TRANSFER-ENCODING: CHUNKED')),
  accepted('TE after a tab', chunked(wholeChunks, 'Transfer-Encoding:\tchunked')),
  accepted('TE without a space', chunked(wholeChunks, 'Transfer-Encoding:chunked')),
  refused(
    'TE twice',
    chunked(wholeChunks, 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked'),
  ),
  refused(
    'TE chunked, then identity',
    chunked(wholeChunks, 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity'),
  ),
  refused(
    'TE identity, then chunked',
    chunked(wholeChunks, 'Transfer-Encoding: identity\r\nTransfer-Encoding: chunked'),
  ),
  refused('TE in HTTP/1.0', chunked(wholeChunks).replace('HTTP/1.1', 'HTTP/1.0'), 505),
  refused('TE with a space before the colon', chunked(wholeChunks, 'Transfer-Encoding : chunked')),
  refused('TE with a tab before the colon', chunked(wholeChunks, 'Transfer-Encoding\t: chunked')),
  refused('TE with a NUL in its name', chunked(wholeChunks, 'Transfer-Encoding\0: chunked')),
  refused('TE with a space in its name', chunked(wholeChunks, 'Transfer Encoding: chunked')),
  refused('TE after a space', chunked(wholeChunks, ' Transfer-Encoding: chunked')),
  refused('TE in a folded line', chunked(wholeChunks, 'X: y\r\n Transfer-Encoding: chunked')),
  refused('TE with a folded value', chunked(wholeChunks, 'Transfer-Encoding:\r\n chunked')),
  refused('TE behind a bare LF', chunked(wholeChunks, 'X: y\nTransfer-Encoding: chunked')),
  refused('TE behind a bare CR', chunked(wholeChunks, 'X: y\rTransfer-Encoding: chunked')),
  // Another name is another header: the length is the one that there is.
  accepted('TE with an underscore', `${telemetryText(body, 'Transfer_Encoding: chunked')}`),
  accepted('TE with a dot', `${telemetryText(body, 'Transfer.Encoding: chunked')}`),
];

const lengths: readonly Row[] = [
  ...[
    '+7',
    '-7',
    '0x7',
    '7e0',
    '7.0',
    '7,7',
    '7, 7',
    '7 7',
    '7;',
    '"7"',
    '\x0b7',
    '7\x0b',
    '7\0',
    '\xb7',
    '',
    '\r7',
    '\n7',
    '99999999999999999999',
    '18446744073709551623',
  ].map((length) =>
    refused(`CL ${JSON.stringify(length)}`, head(`Content-Length: ${length}`) + body),
  ),
  refused('CL twice', head('Content-Length: 7', 'Content-Length: 7') + body),
  refused('CL twice, different', head('Content-Length: 7', 'Content-Length: 0') + body),
  refused('CL with a space before the colon', head('Content-Length : 7') + body),
  refused('CL after a space', head(' Content-Length: 7') + body),
  refused('CL in a folded line', head('X: y\r\n\tContent-Length: 7') + body),
  refused('a folded CL', head('Content-Length: 7\r\n 1') + body),
  accepted('CL with leading zeros', head('Content-Length: 0007') + body),
  accepted('CL between tabs', head('Content-Length:\t7\t') + body),
  // The rest is no request.
  {
    what: 'CL that is too short',
    bytes: head('Content-Length: 3') + body + smuggled,
    answers: [202, 400],
    published: ['"fi'],
  },
  {
    what: 'no CL at all',
    bytes: head() + body + smuggled,
    answers: [202, 400],
    published: [''],
  },
];

const chunks: readonly Row[] = [
  ...['+7', '-7', '0x7', ' 7', '7 ', '7\t', '\t7', '', 'g', '7,7', '7\0', '\xb7'].map((size) =>
    refused(`chunk size ${JSON.stringify(size)}`, chunked(`${size}\r\n${body}\r\n0\r\n\r\n`)),
  ),
  refused('a chunk size over 64 bits', chunked(`10000000000000007\r\n${body}\r\n0\r\n\r\n`)),
  refused('a chunk size behind a bare LF', chunked(`7\n${body}\r\n0\r\n\r\n`)),
  refused('a chunk size behind a bare CR', chunked(`7\r${body}\r\n0\r\n\r\n`)),
  refused('a chunk that ends with a bare LF', chunked(`7\r\n${body}\n0\r\n\r\n`)),
  refused('a chunk that ends with a bare CR', chunked(`7\r\n${body}\r0\r\n\r\n`)),
  refused('a chunk that does not end', chunked(`7\r\n${body}0\r\n\r\n`)),
  refused('a chunk longer than it says', chunked(`3\r\n${body}\r\n0\r\n\r\n`)),
  refused('a chunk extension with a bare LF', chunked(`7;\n${body}\r\n0\r\n\r\n`)),
  refused('a chunk extension with a bare CR', chunked(`7;a\r=b\r\n${body}\r\n0\r\n\r\n`)),
  refused('a chunk extension with a NUL', chunked(`7;a=\0\r\n${body}\r\n0\r\n\r\n`)),
  refused('an open quoted extension', chunked(`7;a="b\r\n${body}\r\n0\r\n\r\n`)),
  refused('chunk extensions without end', chunked(`7;${'a'.repeat(20_000)}`), 413),
  refused('a last chunk behind a bare LF', chunked(`7\r\n${body}\r\n0\n\r\n`)),
  refused('no empty line after the last chunk', chunked(`7\r\n${body}\r\n0\r\n`)),
  refused('a folded trailer', chunked(`7\r\n${body}\r\n0\r\n X: y\r\n\r\n`)),
  refused('a trailer with a bare LF', chunked(`7\r\n${body}\r\n0\r\nX: y\nZ: z\r\n\r\n`)),
  accepted('a chunk size with leading zeros', chunked(`0007\r\n${body}\r\n000\r\n\r\n`)),
  accepted('several chunks', chunked(`3\r\n"fi\r\n4\r\nrst"\r\n0\r\n\r\n`)),
  accepted('a chunk extension', chunked(`7;name=value\r\n${body}\r\n0\r\n\r\n`)),
  accepted('a quoted chunk extension', chunked(`7;a="b c"\r\n${body}\r\n0;x\r\n\r\n`)),
  accepted('a trailer', chunked(`7\r\n${body}\r\n0\r\nX: y\r\n\r\n`)),
];

/** The parser throws away what comes with a wish for another protocol, so that nothing after it can be served. */
function last(what: string, ...lines: readonly string[]): Row {
  const bytes = telemetryText(body, ...lines) + smuggled;
  return { what, bytes, answers: [202], published: [body] };
}

const connections: readonly Row[] = [
  last('Connection: close', 'Connection: close'),
  last('an Upgrade to WebSocket', 'Connection: Upgrade', 'Upgrade: websocket'),
  last('an Upgrade to HTTP/2', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c'),
  last('an Upgrade twice', 'Connection: Upgrade', 'Upgrade: TLS/1.3', 'upgrade: h2c'),
  accepted(
    'headers that Connection names',
    telemetryText(body, 'Connection: Content-Length, Host'),
  ),
  refused('GET with a body', requestText('GET', '/api/v1/time', smuggled)),
  refused(
    'GET with chunks',
    requestText('GET', '/api/v1/time', undefined, 'Transfer-Encoding: chunked') + wholeChunks,
  ),
  refused('DELETE with a body', requestText('DELETE', '/api/v1/commands/1', smuggled)),
];

export const framingRows: readonly Row[] = [
  ...bothLengths,
  ...transferCodings,
  ...transferCodingLines,
  ...lengths,
  ...chunks,
  ...connections,
];
