/** Fills in what was left out, from the defaults of the schema. */
import type { ConfigNode } from './config-node.ts';

/** `value` MUST have passed the schema of `node`; undefined = it was left out. Copies; null-prototype mappings. */
export function fillDefaults(node: ConfigNode, value: unknown): unknown {
  if (value === undefined) {
    if (node.default !== undefined) return fillDefaults(node, node.default);
    return isOptional(node) ? undefined : fillDefaults(node, {});
  }
  if (Array.isArray(value)) {
    const { items } = node;
    return value.map((item: unknown) => (items === undefined ? item : fillDefaults(items, item)));
  }
  if (typeof value !== 'object' || value === null) return value;
  // Typed `any` by the library.
  const filled = Object.create(null) as Record<string, unknown>;
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    // hasOwn: a key named like something of Object.prototype is a key like any other.
    const written = Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
    filled[key] = fillDefaults(child, written);
  }
  const { additionalProperties: more } = node;
  if (typeof more === 'object') {
    for (const [key, child] of Object.entries(value)) filled[key] = fillDefaults(more, child);
  }
  return filled;
}

/** A mapping that must say something of its own is left out as a whole; any other stands with its defaults. */
function isOptional(node: ConfigNode): boolean {
  return (
    node.properties === undefined || node.required !== undefined || node.minProperties !== undefined
  );
}
