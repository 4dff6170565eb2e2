/** Commands as the documentation prints them, so that what a reader pastes is what was tested. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from './cli.ts';

/** The one `sh` block of a document that contains `text`. */
export function commandsWith(document: string, text: string): string {
  return blockWith(document, 'sh', text);
}

/** The one block of a language. */
export function blockWith(document: string, language: string, text: string): string {
  const markdown = readFileSync(join(repositoryRoot, 'docs', document), 'utf8');
  const fenced = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms');
  const blocks = [...markdown.matchAll(fenced)].flatMap(([, block = '']) =>
    block.includes(text) ? [block] : [],
  );
  const [block] = blocks;
  assert.ok(block !== undefined && blocks.length === 1, `${document}: ${text}`);
  return block;
}
