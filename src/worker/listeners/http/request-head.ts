/**
 * What a request says to us: its parser has found out where it ends, and refused what could end elsewhere; here are the lines
 * of RFC 9112 that it leaves to the application, and our bounds.
 */
import type { RequestText } from '../../../common/codec/http/request-parser.ts';
import type { Problem } from './wire.ts';
import { headersTooLarge, problems, unsupportedVersion } from './wire.ts';

export interface RequestHead {
  readonly method: string;
  /** Checked for its form alone. */
  readonly host: string;
  readonly path: string;
  /** Without the question mark; undefined = there is none. */
  readonly query: string | undefined;
  /** `0` = none; `unknown`: it comes in chunks. */
  readonly bodyBytes: number | 'unknown';
  readonly contentType: string | undefined;
  readonly contentCoding: string | undefined;
  readonly accept: string;
  readonly lastEventId: string | undefined;
  /** The web page that a browser asks for (RFC 6454 §7). */
  readonly origin: string | undefined;
  /** A secret: never logged. */
  readonly authorization: string | undefined;
  /** It asks for another protocol. */
  readonly wantsUpgrade: boolean;
}

export interface BadHead {
  readonly problem: Problem;
  /** For the log. */
  readonly detail: string;
}

/** RFC 3986 §3.2.2: a name or an address, and a port. */
const hostPattern = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?$/;
const visible = /^[\t\x20-\x7e]*$/;

function bad(problem: Problem, detail: string): BadHead {
  return { problem, detail };
}

export function readHead(request: RequestText, maxHeaders: number): RequestHead | BadHead {
  const { method, target: url, version, rawHeaders: raw, framing } = request;
  if (version !== '1.1') return bad(unsupportedVersion, `HTTP/${version}`);
  if (raw.length > 2 * maxHeaders) return bad(headersTooLarge, `${raw.length / 2} headers`);
  // RFC 9112 §3.2: origin-form only; nobody asks this listener as a proxy.
  if (url.charCodeAt(0) !== 0x2f) {
    // What it may have in it are secrets: a query, a user and its password.
    return bad(problems.malformed, 'a request target that is no path');
  }
  const lines = readLines(raw);
  if ('problem' in lines) return lines;
  const { host } = lines;
  if (host === undefined || !hostPattern.test(host)) return bad(problems.malformed, 'Host');
  const question = url.indexOf('?');
  return {
    method,
    host,
    path: question < 0 ? url : url.slice(0, question),
    query: question < 0 ? undefined : url.slice(question + 1),
    bodyBytes: framing === 'chunked' ? 'unknown' : framing,
    contentType: lines.contentType,
    contentCoding: lines.contentCoding,
    accept: lines.accept,
    lastEventId: lines.lastEventId,
    origin: lines.origin,
    authorization: lines.authorization,
    wantsUpgrade: lines.upgrade !== undefined,
  };
}

class Lines {
  host: string | undefined;
  contentType: string | undefined;
  contentCoding: string | undefined;
  lastEventId: string | undefined;
  origin: string | undefined;
  authorization: string | undefined;
  upgrade: string | undefined;
  accept = '';
}

/** What a header that says one thing says twice is not guessed. */
function readLines(raw: readonly string[]): Lines | BadHead {
  const lines = new Lines();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const value = raw[i + 1] ?? '';
    const field = fieldOf(raw[i] ?? '');
    if (field === undefined) continue;
    if (field === 'accept' || field === 'upgrade') {
      lines[field] = `${lines[field] ?? ''},${value}`;
      continue;
    }
    if (lines[field] !== undefined) return bad(problems.malformed, `${field} twice`);
    if (!visible.test(value)) return bad(problems.malformed, `${field} with other than ASCII`);
    lines[field] = value;
  }
  return lines;
}

function fieldOf(name: string): keyof Lines | undefined {
  switch (name.length) {
    case 4:
    case 6:
    case 7:
    case 12:
    case 13:
    case 16:
      return fields.get(name) ?? fields.get(name.toLowerCase());
    default:
      return undefined;
  }
}

/** No name is of another length than those in `fieldOf`. */
const fields: ReadonlyMap<string, keyof Lines> = new Map([
  // As most write them, which saves making them lower case.
  ['Host', 'host'],
  ['Content-Type', 'contentType'],
  ['host', 'host'],
  ['accept', 'accept'],
  ['origin', 'origin'],
  ['upgrade', 'upgrade'],
  ['content-type', 'contentType'],
  ['authorization', 'authorization'],
  ['last-event-id', 'lastEventId'],
  ['content-encoding', 'contentCoding'],
]);
