/** What is inside of a header field (RFC 9110 §5.6). White space is space and tab: to `String.trim` a no-break space is some, too. */

/** The part of a text from `from` to `to`, without the white space around it. */
export function trimmed(text: string, from = 0, to = text.length): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

const noTokens: readonly string[] = Object.freeze([]);

/** Of a list, perhaps of several lines that were joined by commas; in lower case, without empty ones. */
export function tokensOf(list: string): readonly string[] {
  // What most say, most often.
  if (list === '' || list === ',keep-alive') return noTokens;
  return list
    .toLowerCase()
    .split(',')
    .map((item) => trimmed(item))
    .filter((item) => item !== '');
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
