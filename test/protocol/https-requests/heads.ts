/** Request lines and headers that are none, or not what this listener serves (RFC 9112 §3 and §5). */
import { requestText, telemetryText } from '../../harness/https-text.ts';
import { hidden, next } from './framing.ts';
import type { Row } from './framing.ts';

const smuggled = telemetryText(hidden);
const body = '"first"';

function refused(what: string, bytes: string, status = 400): Row {
  return { what, bytes: bytes + smuggled, answers: [status], published: [] };
}

/** Understood, and refused in good order: what follows is a request. */
function answered(what: string, bytes: string, status: number): Row {
  return { what, bytes: bytes + next, answers: [status, 202], published: ['"next"'] };
}

/** The line with a reading behind it. */
function line(first: string): string {
  return telemetryText(body).replace('POST /api/v1/telemetry HTTP/1.1', first);
}

function withHeader(header: string): string {
  return telemetryText(body, header);
}

const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

const versions: readonly Row[] = [
  refused('HTTP/0.9', 'GET /api/v1/time\r\n'),
  refused('HTTP/0.9 with headers', line('POST /api/v1/telemetry')),
  ...['0.9', '1.0', '2.0'].map((version) =>
    refused(`HTTP/${version}`, line(`POST /api/v1/telemetry HTTP/${version}`), 505),
  ),
  ...['1.2', '3.0', '1.10', '11.1', '1,1', '1.1x', '1', '', '1.1\0', '-1.1'].map((version) =>
    refused(`HTTP/${version}`, line(`POST /api/v1/telemetry HTTP/${version}`)),
  ),
  refused('http/1.1', line('POST /api/v1/telemetry http/1.1')),
  refused('HTTPS/1.1', line('POST /api/v1/telemetry HTTPS/1.1')),
  refused('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  refused('a TLS record', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
  refused('an MQTT CONNECT', '\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02d1'),
];

const methods: readonly Row[] = [
  refused('a method in lower case', line('post /api/v1/telemetry HTTP/1.1')),
  refused('a method that nobody knows', line('BREW /api/v1/telemetry HTTP/1.1')),
  refused('a method with a NUL', line('PO\0ST /api/v1/telemetry HTTP/1.1')),
  refused('a method with a colon', line('POST: /api/v1/telemetry HTTP/1.1')),
  refused('no method', line(' /api/v1/telemetry HTTP/1.1')),
  refused('a space before the method', line(' POST /api/v1/telemetry HTTP/1.1')),
  refused('a huge method', line(`${'P'.repeat(9_000)} /api/v1/telemetry HTTP/1.1`)),
  refused('CONNECT', 'CONNECT localhost:8883 HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  refused('OPTIONS *', 'OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  ...['PUT', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND', 'M-SEARCH', 'PURGE'].map((method) =>
    answered(method, requestText(method, '/api/v1/telemetry'), 405),
  ),
];

const targets: readonly Row[] = [
  refused('absolute-form', get('https://localhost/api/v1/time')),
  refused('absolute-form of somebody else', line('POST http://10.0.0.1/api/v1/telemetry HTTP/1.1')),
  refused('authority-form', get('localhost:8443')),
  refused('asterisk-form', get('*')),
  refused('no target', 'GET  HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  refused('a space in the target', get('/api/v1/time x')),
  refused('a tab in the target', get('/api/v1/time\tx')),
  refused('a tab before the target', 'GET\t/api/v1/time HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  // RFC 9112 §3: a reader may take several spaces for one.
  refused('two spaces before the target', get(' /api/v1/nothing')),
  refused('two spaces before the version', get('/api/v1/nothing ')),
  refused('a NUL in the target', get('/api/v1/time\0')),
  refused('a bare CR in the target', get('/api/v1/time\rx')),
  refused('a byte over 0x7f in the target', get('/api/v1/t\xefme')),
  refused('a control byte in the target', get('/api/v1/time\x7f')),
  refused('a query where there is none', get('/api/v1/time?x=y')),
  ...[
    '//api/v1/time',
    '/api//v1/time',
    '/./api/v1/time',
    '/x/../api/v1/time',
    '/api/v1/time/',
    '/api/v1/time/.',
    '/api/v1/time;x=y',
    '/api/v1/time#x',
    '/api/v1/%74ime',
    '/api/v1%2ftime',
    '/api/v1/time%00',
    '/API/v1/time',
    '/api\\v1\\time',
    '/api/v1/__proto__',
    '/__proto__',
    '/constructor',
    '/api/v1/commands/../time',
    '/',
  ].map((target) => answered(target, get(target), 404)),
  refused('a target over the limit', get(`/${'a'.repeat(9_000)}`), 431),
];

const hosts: readonly Row[] = [
  refused('no Host', 'GET /api/v1/time HTTP/1.1\r\n\r\n'),
  refused('two Hosts', withHeader('Host: localhost')),
  refused('two different Hosts', withHeader('Host: elsewhere')),
  ...['', 'a b', 'a/b', 'user@host', 'a\tb', 'h\xf6st', '[::1', 'a:b', 'a#b', 'a?b'].map((host) =>
    refused(`Host: ${host}`, `GET /api/v1/time HTTP/1.1\r\nHost: ${host}\r\n\r\n`),
  ),
];

const headers: readonly Row[] = [
  refused('a header without a colon', withHeader('nothing')),
  refused('a header without a name', withHeader(': x')),
  refused('a space before the colon', withHeader('X : y')),
  refused('a tab before the colon', withHeader('X\t: y')),
  refused('a space in a name', withHeader('X Y: z')),
  refused('a NUL in a name', withHeader('X\0Y: z')),
  refused('a byte over 0x7f in a name', withHeader('X\xe9: z')),
  ...['(', ')', ',', '/', ';', '<', '=', '>', '?', '@', '[', '\\', ']', '{', '}', '"'].map((mark) =>
    refused(`${mark} in a name`, withHeader(`X${mark}Y: z`)),
  ),
  refused('a NUL in a value', withHeader('X: \0')),
  refused('a bare CR in a value', withHeader('X: a\rb')),
  refused('a bare LF in a value', withHeader('X: a\nb')),
  refused('a control byte in a value', withHeader('X: a\x01b')),
  refused('DEL in a value', withHeader('X: a\x7fb')),
  refused('a folded value', withHeader('X: a\r\n b')),
  refused('a folded value with a tab', withHeader('X: a\r\n\tb')),
  refused('a bare LF after the request line', line('POST /api/v1/telemetry HTTP/1.1\nX: y')),
  refused('a bare CR after the request line', line('POST /api/v1/telemetry HTTP/1.1\rX: y')),
  refused('LF LF instead of an end', 'GET /api/v1/time HTTP/1.1\r\nHost: localhost\n\n'),
  refused('a space before the first header', line('POST /api/v1/telemetry HTTP/1.1\r\n X: y')),
  refused('Content-Type twice', telemetryText(body, 'Content-Type: a/b', 'content-type: c/d')),
  refused('Content-Type with a byte over 0x7f', telemetryText(body, 'Content-Type: \xe9')),
  refused(
    '65 headers',
    telemetryText(body, ...Array.from({ length: 63 }, (_, n) => `X${n}: y`)),
    431,
  ),
  answered(
    '64 headers, elsewhere',
    requestText('GET', '/', undefined, ...Array.from({ length: 63 }, (_, n) => `X${n}: y`)),
    404,
  ),
];

export const headRows: readonly Row[] = [...versions, ...methods, ...targets, ...hosts, ...headers];
