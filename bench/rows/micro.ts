/** Benchmarks of one function each, which run in a process of their own and print a JSON line per subject. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { onServerCore } from '../harness/machine.ts';
import type { Result, Row } from '../harness/results.ts';

interface Bounds {
  readonly pass?: number;
  readonly goal?: number;
}

interface Line {
  readonly subject: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

function rowOf(name: string, file: string, bounds: ReadonlyMap<string, Bounds>): Row {
  return {
    name,
    async run(): Promise<Result[]> {
      const lines = (await outputOf(file)).trim().split('\n').map(lineOf);
      for (const subject of bounds.keys()) {
        if (!lines.some((line) => line.subject === subject)) {
          throw new Error(`bench/${file} measures no "${subject}"`);
        }
      }
      return lines.map(({ subject, unit, median, min, max }) => ({
        row: name,
        subject,
        unit: `${unit} CPU`,
        figures: [min, median, max],
        ...bounds.get(subject),
        notes: [`bench/${file}, which has rounds of its own`],
      }));
    },
  };
}

function outputOf(file: string): Promise<string> {
  const [program, ...args] = onServerCore;
  const script = join(import.meta.dirname, '..', file);
  const child = spawn(program, [...args, process.execPath, script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`bench/${file} ended with ${code ?? 'a signal'}`));
    });
  });
}

function lineOf(text: string): Line {
  // Our own program wrote it.
  return JSON.parse(text) as Line;
}

export const policy = rowOf(
  'policy',
  'policy.ts',
  new Map([
    ['policy decision on a warm publish', { pass: 0.5, goal: 0.3 }],
    ['policy decision on a warm publish with schema', { pass: 3, goal: 2 }],
  ]),
);

export const crl = rowOf(
  'crl',
  'crl.ts',
  new Map([['revocation list of 100,000 entries, with its delta', { pass: 1_000, goal: 500 }]]),
);

export const recordCipher = rowOf('record-cipher', 'record-cipher.ts', new Map());
