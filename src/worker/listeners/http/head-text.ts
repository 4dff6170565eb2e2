/** The head of an answer as text (RFC 9112 §4, §5). */
import { STATUS_CODES } from 'node:http';
import { SallyportError } from '../../../common/base/errors.ts';

const secondMs = 1_000;
const name = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 §5.5: whatever could end a line, or is nothing that a line may have. */
const misplaced = /[^\t\x20-\x7e\x80-\xff]/;

/** @throws SallyportError `internal` for what would be read as another line, or as none. */
export function headerText(lines: readonly string[]): string {
  let text = '';
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const key = lines[i] ?? '';
    const value = lines[i + 1] ?? '';
    if (misplaced.test(value) || !name.test(key)) {
      throw new SallyportError('internal', 'a header of an answer that is none');
    }
    text += `${key}: ${value}\r\n`;
  }
  return text;
}

const statusLines = new Map<number, string>();

/** The line of a status, with its end. */
export function statusLine(status: number): string {
  let line = statusLines.get(status);
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
    // There are some hundreds.
    statusLines.set(status, line);
  }
  return line;
}

let dateSecond = Number.NaN;
let date = '';

/** `Date` (RFC 9110 §6.6.1), made once a second. */
export function dateLine(now: number): string {
  const second = Math.floor(now / secondMs);
  if (second !== dateSecond) {
    dateSecond = second;
    date = `Date: ${new Date(second * secondMs).toUTCString()}\r\n`;
  }
  return date;
}
