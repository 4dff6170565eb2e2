/**
 * YAML text as plain data that still knows its lines. A narrow YAML: one document, text keys, no tags, no
 * directives, no merge keys, aliases bounded.
 */
import { LineCounter, isAlias, isMap, isPair, isScalar, isSeq, parseDocument, visit } from 'yaml';
import type { Document } from 'yaml';
import { messageOf } from '../base/errors.ts';
import type { Problem } from './problems.ts';

export type Path = readonly (string | number)[];

export type YamlSource =
  | {
      readonly ok: true;
      readonly value: Readonly<Record<string, unknown>>;
      readonly lineOf: (path: Path) => number | undefined;
    }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Times that aliases may be expanded in all. */
const maxAliases = 100;

export function readYaml(text: string): YamlSource {
  const lines = new LineCounter();
  const failed = (message: string, line?: number): YamlSource => ({
    ok: false,
    problems: [{ line, path: '', message }],
  });
  let value: unknown;
  let document: Document;
  try {
    document = parseDocument(text, {
      version: '1.2',
      schema: 'core',
      strict: true,
      uniqueKeys: true,
      stringKeys: true,
      resolveKnownTags: false,
      merge: false,
      prettyErrors: false,
      lineCounter: lines,
    });
    // A warning is a tag or directive that was not understood: guessing is for readers who can ask.
    const complaints = [...document.errors, ...document.warnings];
    if (complaints.length > 0) {
      return {
        ok: false,
        problems: complaints.slice(0, 50).map((c) => ({
          line: lines.linePos(c.pos[0]).line,
          path: '',
          message: `is not YAML: ${c.message.split('\n')[0] ?? ''}`,
        })),
      };
    }
    if (document.directives?.yaml.explicit === true)
      return failed('has a %YAML directive; remove it', 1);
    const tag = firstTag(document);
    if (tag !== undefined)
      return failed('has a tag ("!…"); tags are not used here', lines.linePos(tag).line);
    value = document.toJS({ maxAliasCount: maxAliases });
  } catch (thrown) {
    // The parser recurses: text nested a hundred thousand deep ends here as a RangeError.
    return failed(`is not YAML: ${messageOf(thrown)}`);
  }
  if (value === null || value === undefined) {
    return failed(
      'is empty; write at least one key, or start without a configuration to use the defaults',
    );
  }
  if (typeof value !== 'object' || Array.isArray(value))
    return failed('is not a mapping of keys to values', 1);
  return {
    ok: true,
    // A mapping whose keys are texts: stringKeys.
    value: value as Readonly<Record<string, unknown>>,
    lineOf: (path) => {
      const offset = offsetOf(document, path);
      return offset === undefined ? undefined : lines.linePos(offset).line;
    },
  };
}

function firstTag(document: Document): number | undefined {
  let found: number | undefined;
  visit(document, {
    Node: (_key, node) => {
      if (isAlias(node) || node.tag === undefined) return undefined;
      found = node.range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return found;
}

/** Where the key of the last step that exists is written. */
function offsetOf(document: Document, path: Path): number | undefined {
  let node: unknown = document.contents;
  let offset = rangeStart(node);
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(
        (p) => isPair(p) && isScalar(p.key) && p.key.value === String(step),
      );
      if (pair === undefined) break;
      offset = rangeStart(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = rangeStart(node) ?? offset;
    } else break;
  }
  return offset;
}

function rangeStart(node: unknown): number | undefined {
  return isMap(node) || isSeq(node) || isScalar(node) || isAlias(node)
    ? node.range?.[0]
    : undefined;
}
