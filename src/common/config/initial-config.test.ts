import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { configReference } from './config-reference.ts';
import { configSchema } from './config-schema.ts';
import type { ConfigNode } from './config-node.ts';
import { initialConfigText } from './initial-config.ts';
import { parseConfig } from './parse-config.ts';

const defaults = parseConfig({ configPath: undefined, configText: '', files: {} });

test('the text of init loads and equals the defaults', () => {
  const text = initialConfigText();
  const config = parseConfig({ configPath: '/etc/sallyport.yaml', configText: text, files: {} });
  assert.deepEqual(config, defaults);
  assert.ok(text.split('\n').every((line) => line.length <= 120));
});

test('the text of init writes or shows every key that can be set', () => {
  const text = initialConfigText();
  const written: unknown = parse(text);
  const missing: string[] = [];
  const look = (node: ConfigNode, value: unknown, at: string): void => {
    for (const [key, child] of Object.entries(node.properties ?? {})) {
      if (child.notYet !== undefined) continue;
      const inside = typeof value === 'object' && value !== null ? Object.entries(value) : [];
      const found = inside.find(([name]) => name === key);
      if (found !== undefined) {
        if (child.default === undefined && child.minProperties === undefined)
          look(child, found[1], `${at}${key}.`);
      } else if (!new RegExp(`^ *# *${key}:`, 'mu').test(text)) missing.push(`${at}${key}`);
    }
  };
  look(configSchema, written, '');
  assert.deepEqual(missing, []);
});

test('every key is described and every limit has a default', () => {
  const undescribed: string[] = [];
  const look = (node: ConfigNode, at: string): void => {
    for (const [key, child] of Object.entries(node.properties ?? {})) {
      if ((child.description ?? '') === '') undescribed.push(`${at}${key}`);
      if (at === 'limits.' && key !== 'identityRates') assert.ok(child.default !== undefined, key);
      look(child, `${at}${key}.`);
    }
    if (typeof node.additionalProperties === 'object')
      look(node.additionalProperties, `${at}<name>.`);
    if (node.items !== undefined) look(node.items, `${at}[].`);
  };
  look(configSchema, '');
  assert.deepEqual(undescribed, []);
});

test('docs/configuration.md is what the schema says (scripts/generate-config-docs.ts)', () => {
  const written = readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8');
  assert.equal(written, configReference());
});
