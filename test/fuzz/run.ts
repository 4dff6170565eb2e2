/**
 * `npm run fuzz -- [target=NAME] [seconds=N] [seed=N]`: coverage-guided fuzzing, each target in its turn or the one
 * named, N seconds (10) each. What breaks is kept in test/fuzz/crashes/<target>, where the tests try it again; exit 1
 * then.
 */
import { keepCrash } from './crashes.ts';
import { fuzz } from './fuzz.ts';
import { targets } from './targets.ts';

const usage = `usage: npm run fuzz -- [target=${Object.keys(targets).join('|')}] [seconds=N] [seed=N]`;

const given = new Map(
  process.argv.slice(2).map((argument) => {
    const [, name, value] = /^(target|seconds|seed)=([\w-]+)$/.exec(argument) ?? [];
    if (name === undefined || value === undefined) stop(`"${argument}" is not known`);
    return [name, value] as const;
  }),
);
const seconds = whole('seconds', 10);
const seed = whole('seed', Date.now() % 1_000_000);
const only = given.get('target');
const chosen = Object.entries(targets).filter(([name]) => only === undefined || name === only);
if (chosen.length === 0) stop(`there is no target "${only ?? ''}"`);

for (const [name, load] of chosen) {
  const end = performance.now() + seconds * 1_000;
  const report = await fuzz(load, { seed, until: () => performance.now() >= end });
  const { runs, corpus, covered, crash } = report;
  console.log(
    `${name}: seed ${seed}, ${runs} inputs, ${corpus} in the corpus, ${covered} characters covered`,
  );
  if (crash === undefined) continue;
  console.error(crash.error);
  console.error(`${name}: ${crash.input.length} bytes kept in ${keepCrash(name, crash.input)}`);
  process.exitCode = 1;
}

function whole(name: string, standard: number): number {
  const text = given.get(name) ?? String(standard);
  if (!/^\d{1,9}$/.test(text)) stop(`${name} is no whole number`);
  return Number(text);
}

function stop(problem: string): never {
  console.error(`${problem}; ${usage}`);
  process.exit(2);
}
