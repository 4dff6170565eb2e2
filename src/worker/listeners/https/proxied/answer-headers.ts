/** Which headers of a backend's answer a device gets to see. Those of its connection are gone already. */

/**
 * What serves a backend is nobody's business, and that it may be had elsewhere is not its to say. `Access-Control-*` would
 * let pages of other origins read what a person's certificate opens: that door is closed (docs/proxied-routes.md).
 */
const dropped =
  /^(?:server|x-powered-by|x-aspnet(?:mvc)?-version|x-generator|x-runtime|via|alt-svc|trailer|access-control-[a-z-]+)$/i;

const maxKnown = 1_024;
/** Of a name that is remembered: long ones are nobody's, and would be kept for ever. */
const maxKnownLength = 64;
const known = new Map<string, boolean>();

function passes(name: string): boolean {
  const already = known.get(name);
  if (already !== undefined) return already;
  const verdict = !dropped.test(name);
  if (known.size < maxKnown && name.length <= maxKnownLength) known.set(name, verdict);
  return verdict;
}

/** @param lines name and value in turn. @returns a list of its own. */
export function answerLines(lines: readonly string[]): string[] {
  const passed: string[] = [];
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const name = lines[i] ?? '';
    if (passes(name)) passed.push(name, lines[i + 1] ?? '');
  }
  return passed;
}
