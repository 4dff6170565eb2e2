/**
 * The text that `sallyport init` writes: every key with its default and what it is for, made from the schema. Loading
 * it unchanged gives the defaults. Keys without a default stand as commented examples.
 */
import { stringify } from 'yaml';
import { configSchema } from './config-schema.ts';
import type { ConfigNode } from './config-node.ts';

const width = 110;

export function initialConfigText(): string {
  const lines = [
    '# Configuration of Sallyport. Every value here is the default: keep what you change, delete the rest.',
    '# Check it with "sallyport policy check FILE", apply it with "sallyport reload".',
    '# Durations: 500ms, 10s, 5m, 24h, 7d. Sizes: 512B, 64KiB, 1MiB. Rates: 5/s, 100/m, 1000/h, 5000/day.',
    '# A rate is one window { limit: 5/s, burst: 10 }, or a list of windows that must all have room; [] is no limit.',
    '# Limit 5/s with burst 10 passes 11 at once and refuses the twelfth.',
  ];
  for (const [key, node] of Object.entries(configSchema.properties ?? {})) {
    const written = entry(key, node, '');
    if (written.length > 0) lines.push('', ...written);
  }
  return `${lines.join('\n')}\n`;
}

function entry(key: string, node: ConfigNode, indent: string): string[] {
  if (node.notYet !== undefined) {
    if (node.notYet.accepts !== 'listener') return [];
    return [
      ...comment(`${node.description ?? ''} Not available yet.`, indent),
      `${indent}${key}: false`,
    ];
  }
  const head = comment(node.description ?? '', indent);
  const children = node.properties;
  if (children !== undefined && node.default === undefined && node.required === undefined) {
    if (node.minProperties !== undefined) return [...head, ...example(key, node, indent)];
    const inner = Object.entries(children).flatMap(([name, child]) =>
      entry(name, child, `${indent}  `),
    );
    const empty = inner.every((line) => line.trimStart().startsWith('#'));
    return empty ? commented(key, children, head, indent) : [...head, `${indent}${key}:`, ...inner];
  }
  if (node.default === undefined) return [...head, ...example(key, node, indent)];
  const written = yaml({ [key]: node.default }, indent);
  return [...head, ...written, ...(node.example === undefined ? [] : example(key, node, indent))];
}

/** A mapping of which nothing is set: its key alone would be an error, so it is shown as an example too. */
function commented(
  key: string,
  children: Readonly<Record<string, ConfigNode>>,
  head: readonly string[],
  indent: string,
): string[] {
  const said = Object.entries(children).flatMap(([name, child]) =>
    comment(`\`${name}\`: ${child.description ?? ''}`, indent),
  );
  const examples = Object.entries(children).map(([name, child]) => [name, child.example]);
  const shown: ConfigNode = { example: Object.fromEntries(examples) };
  return [...head, ...said, ...example(key, shown, indent)];
}

function example(key: string, node: ConfigNode, indent: string): string[] {
  return yaml({ [key]: node.example }, '').map((line) => `${indent}# ${line}`);
}

function yaml(value: unknown, indent: string): string[] {
  const text = stringify(value, {
    lineWidth: 0,
    aliasDuplicateObjects: false,
    flowCollectionPadding: true,
  });
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `${indent}${line}`);
}

function comment(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ').filter((w) => w !== '')) {
    if (line !== '' && indent.length + 2 + line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') lines.push(line);
  return lines.map((l) => `${indent}# ${l}`);
}
