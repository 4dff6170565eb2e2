/** Inputs that broke something once. They stay, and are tried again with every run of the tests. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, 'crashes');

/** @returns the file. */
export function keepCrash(target: string, input: Buffer, below = folder): string {
  const name = `${createHash('sha256').update(input).digest('hex').slice(0, 16)}.bin`;
  mkdirSync(join(below, target), { recursive: true });
  writeFileSync(join(below, target, name), input);
  return join(below, target, name);
}

/** Of all targets, whether they are still there or not. */
export function keptCrashes(
  below = folder,
): readonly { readonly target: string; readonly file: string; readonly input: Buffer }[] {
  if (!existsSync(below)) return [];
  return readdirSync(below, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name: target }) =>
      readdirSync(join(below, target)).map((file) => ({
        target,
        file,
        input: readFileSync(join(below, target, file)),
      })),
    );
}
