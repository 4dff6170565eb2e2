/**
 * TypeScript source with everything blanked that is not code, so that rules can be regular expressions and still not
 * be fooled by a comment or a string. Offsets and line breaks stay what they were.
 */

interface TextLiteral {
  /** Offset of the first character inside the quotes. */
  readonly start: number;
  readonly value: string;
}

export interface MaskedSource {
  /** Comments, regular expressions and the insides of strings and templates are spaces; quotes remain. */
  readonly code: string;
  /** What stood in quotes; of a template, each piece between its substitutions. Escapes are left as written. */
  readonly literals: readonly TextLiteral[];
}

/** After these a slash begins a regular expression; after a name, a number or a closing bracket it divides. */
const beforeRegularExpression =
  /(?:^|[=([{},;:!&|?+\-*/%<>~^]|(?<![\w$.])(?:return|typeof|case|in|of|void|delete|throw|await|yield|else|do))\s*$/;

export function maskSource(source: string): MaskedSource {
  const literals: TextLiteral[] = [];
  /** Per open template substitution, how many braces are open inside it. */
  const substitutions: number[] = [];
  let code = '';
  let at = 0;

  /** Copies up to `end`, blanked. */
  const blank = (end: number): void => {
    code += source.slice(at, end).replace(/[^\n]/g, ' ');
    at = end;
  };
  const copy = (): void => {
    code += source[at] ?? '';
    at += 1;
  };
  const literal = (end: number): void => {
    literals.push({ start: at, value: source.slice(at, end) });
    blank(end);
  };
  /** From inside a template to its closing backtick or the next `${`. */
  const template = (): void => {
    const end = endOf(source, at, '`', '${');
    literal(end);
    if (source[at] === '$') {
      copy();
      copy();
      substitutions.push(0);
    } else {
      copy();
    }
  };

  while (at < source.length) {
    const here = source[at];
    const pair = source.slice(at, at + 2);
    const open = substitutions.length - 1;
    if (pair === '//') {
      blank(indexOrEnd(source, '\n', at));
    } else if (pair === '/*') {
      blank(indexOrEnd(source, '*/', at + 2) + 2);
    } else if (here === "'" || here === '"') {
      copy();
      literal(endOf(source, at, here));
      copy();
    } else if (here === '`') {
      copy();
      template();
    } else if (here === '/' && beforeRegularExpression.test(code.slice(-200))) {
      blank(endOfRegularExpression(source, at));
    } else if (here === '}' && substitutions[open] === 0) {
      substitutions.pop();
      copy();
      template();
    } else {
      if (here === '{' && open >= 0) substitutions[open]! += 1;
      if (here === '}' && open >= 0) substitutions[open]! -= 1;
      copy();
    }
  }
  return { code, literals };
}

/** 1 is the first line. */
export function lineAt(source: string, offset: number): number {
  return source.slice(0, offset).split('\n').length;
}

/** The first of `stops` from `from` on that no backslash precedes, or the end of the text. */
function endOf(source: string, from: number, ...stops: readonly string[]): number {
  for (let at = from; at < source.length; at += 1) {
    if (source[at] === '\\') at += 1;
    else if (stops.some((stop) => source.startsWith(stop, at))) return at;
  }
  return source.length;
}

function endOfRegularExpression(source: string, from: number): number {
  let inClass = false;
  for (let at = from + 1; at < source.length; at += 1) {
    const here = source[at];
    if (here === '\\') at += 1;
    else if (here === '[') inClass = true;
    else if (here === ']') inClass = false;
    else if (here === '\n' || (here === '/' && !inClass)) return at + 1;
  }
  return source.length;
}

function indexOrEnd(source: string, text: string, from: number): number {
  const found = source.indexOf(text, from);
  return found < 0 ? source.length : found;
}
