/** Entry point of the command line. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runCommandLine } from './program.ts';

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exitCode = 0;
});

process.exitCode = await runCommandLine(
  process.argv.slice(2),
  {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    uid: process.getuid?.(),
    ...(process.stderr.isTTY ? { liveColumns: () => process.stderr.columns } : {}),
  },
  packageVersion(),
);

/** Of the package that this file belongs to, in a checkout and when installed. */
function packageVersion(): string {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    const version = versionIn(join(folder, 'package.json'));
    if (version !== undefined) return version;
  }
  return 'unknown';
}

function versionIn(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  if (!('name' in parsed) || parsed.name !== 'sallyport') return undefined;
  return 'version' in parsed && typeof parsed.version === 'string' ? parsed.version : undefined;
}
