/** Results as a table for people, as JSON for programs, and as the generated section of bench/README.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Machine } from './machine.ts';
import type { Missing, Result } from './results.ts';
import { summary } from './rounds.ts';
import type { Summary } from './rounds.ts';

type Verdict = 'goal' | 'pass' | 'short of it' | 'reported';

export interface Line {
  readonly row: string;
  readonly subject: string;
  readonly unit: string;
  readonly ours: Summary;
  readonly peer: (Summary & { readonly name: string }) | undefined;
  /** Of the medians; `min` and `max` of the rounds, each against the peer's next to it. */
  readonly ratio: Summary | undefined;
  readonly pass: number | undefined;
  readonly goal: number | undefined;
  readonly verdict: Verdict;
  readonly notes: readonly string[];
}

export function lineOf(result: Result): Line {
  const { row, subject, unit, figures, peer, pass, goal, more, notes } = result;
  const ours = summary(figures);
  const ratio = peer === undefined ? undefined : ratioOf(figures, peer.figures);
  const judged = (ratio ?? ours).median;
  const within = (value: number): boolean => (more === true ? judged >= value : judged <= value);
  return {
    row,
    subject,
    unit,
    ours,
    peer: peer === undefined ? undefined : { name: peer.name, ...summary(peer.figures) },
    ratio,
    pass,
    goal,
    verdict: verdictOf(within, pass, goal),
    notes,
  };
}

function ratioOf(ours: readonly number[], theirs: readonly number[]): Summary {
  const each = summary(ours.map((figure, round) => figure / (theirs[round] ?? Number.NaN)));
  return { ...each, median: summary(ours).median / summary(theirs).median };
}

function verdictOf(
  within: (bound: number) => boolean,
  pass: number | undefined,
  goal: number | undefined,
): Verdict {
  if (goal !== undefined && within(goal)) return 'goal';
  if (pass !== undefined && within(pass)) return 'pass';
  return pass === undefined && goal === undefined ? 'reported' : 'short of it';
}

/** Markdown, which is legible on a terminal too. */
export function tableOf(lines: readonly Line[], missing: readonly Missing[]): string {
  const rows = lines.map((line) => [
    line.row,
    line.subject,
    `${spread(line.ours)} ${line.unit}`,
    line.peer === undefined ? '–' : `${line.peer.name}: ${spread(line.peer)}`,
    line.ratio === undefined ? '–' : `**${spread(line.ratio)}**`,
    bound(line, line.pass),
    bound(line, line.goal),
    line.verdict,
  ]);
  const absent = missing.map(({ row, subject, reason }) => [
    row,
    subject,
    'not built yet',
    '–',
    '–',
    '–',
    '–',
    reason,
  ]);
  const head = ['row', 'subject', 'Sallyport', 'peer', 'ratio', 'pass', 'goal', 'reached'];
  return [head, head.map(() => '---'), ...rows, ...absent]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

function notesOf(lines: readonly Line[]): string {
  return lines
    .map(({ row, subject, notes }) => `- ${row}, ${subject}: ${notes.join('; ')}.`)
    .join('\n');
}

function bound({ ratio, unit }: Line, value: number | undefined): string {
  if (value === undefined) return '–';
  if (unit.endsWith('per second')) return `≥ ${value}`;
  return ratio === undefined ? `≤ ${value}` : `≤ ${value} ×`;
}

function spread({ median, min, max }: Summary): string {
  return `${figureOf(median)} (${figureOf(min)}–${figureOf(max)})`;
}

function figureOf(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value.toPrecision(value >= 10 ? 3 : 2);
}

export function machineText(machine: Machine, rounds: number, load: string): string {
  const { cpu, cores, memoryGiB, kernel, node, openssl } = machine;
  return (
    `${cpu}, ${cores} cores, ${memoryGiB} GiB, Linux ${kernel}; Node ${node} with OpenSSL ${openssl}; ` +
    `${rounds} rounds; ${load}.`
  );
}

const readme = join(import.meta.dirname, '..', 'README.md');
const begin = '<!-- figures: written by bench/run.ts --write -->';
const end = '<!-- end of figures -->';

/** @throws Error when bench/README.md has lost the marks of its generated section. */
export function writeReadme(
  machine: string,
  lines: readonly Line[],
  missing: readonly Missing[],
): void {
  const text = readFileSync(readme, 'utf8');
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`bench/README.md needs the lines ${begin} and ${end}`);
  const section = [begin, '', machine, '', tableOf(lines, missing), '', notesOf(lines), '', end];
  writeFileSync(readme, text.slice(0, from) + section.join('\n') + text.slice(to + end.length));
}
