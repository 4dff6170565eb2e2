/**
 * `npm run bench [-- ROW… | --rounds N | --json | --write]`: Sallyport and its peers on the same work in the same run.
 *
 * Servers have one core and the load the others. Contenders take turns, round by round. What is measured is the CPU
 * time of all processes of a server per unit of work; the figure is the ratio of the medians. Everything is ended and
 * removed when this ends, whichever way.
 */
import { parseArgs } from 'node:util';
import { benchPackages, provideSystemPackages } from '../scripts/system-packages.ts';
import './harness/scratch.ts';
import { moveToLoadCores, serverCore, thisMachine } from './harness/machine.ts';
import { lineOf, machineText, tableOf, writeReadme } from './harness/report.ts';
import type { Missing, Result, Row } from './harness/results.ts';
import { mqttDurable } from './rows/durable.ts';
import { mqttFanOut } from './rows/fan-out.ts';
import { handshake, handshakeResumed } from './rows/handshake.ts';
import { httpsAccept, httpsDurable, httpsRps, httpsSchema } from './rows/https.ts';
import { issuance } from './rows/issuance.ts';
import { memory } from './rows/memory.ts';
import { crl, policy, recordCipher } from './rows/micro.ts';
import { mqttAedes, mqttPipelined, mqttSparse } from './rows/mqtt.ts';
import { notBuilt } from './rows/not-built.ts';
import { ocsp } from './rows/ocsp.ts';
import { httpsLatency, httpsProxied, httpsProxiedHmac } from './rows/proxied.ts';

const rows: readonly Row[] = [
  mqttSparse,
  mqttPipelined,
  mqttFanOut,
  mqttDurable,
  mqttAedes,
  handshake,
  handshakeResumed,
  memory,
  httpsAccept,
  httpsDurable,
  httpsRps,
  httpsSchema,
  httpsProxied,
  httpsProxiedHmac,
  httpsLatency,
  policy,
  recordCipher,
  issuance,
  ocsp,
  crl,
  ...notBuilt,
];

/** What the design asks for. Fewer are for trying a row out. */
const defaultRounds = 5;

process.exitCode = await main();
// Sessions of the load may still be open.
process.exit();

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: String(defaultRounds) },
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) return fail('--rounds is a number from 1 on');
  const unknown = positionals.filter((name) => !rows.some((row) => row.name === name));
  if (unknown.length > 0) {
    return fail(
      `no row ${unknown.join(', ')}; there are ${rows.map(({ name }) => name).join(' ')}`,
    );
  }
  if (values.write && (positionals.length > 0 || rounds < defaultRounds)) {
    return fail(`--write is for a whole run of at least ${defaultRounds} rounds`);
  }
  const lacking = provideSystemPackages(undefined, benchPackages);
  if (lacking !== undefined) return fail(lacking);
  moveToLoadCores();
  const wanted =
    positionals.length === 0 ? rows : rows.filter(({ name }) => positionals.includes(name));
  const { results, missing, failed } = await runAll(wanted, rounds);
  const lines = results.map(lineOf);
  const machine = thisMachine();
  const place = `servers on core ${serverCore}, load on the others`;
  if (values.json) {
    process.stdout.write(
      `${JSON.stringify({ machine, rounds, results: lines, missing }, null, 2)}\n`,
    );
  } else {
    const text = machineText(machine, rounds, place);
    process.stdout.write(`${text}\n\n${tableOf(lines, missing)}\n`);
    if (values.write && failed.length === 0) writeReadme(text, lines, missing);
  }
  return failed.length === 0 ? 0 : fail(`without a result: ${failed.join(', ')}`);
}

/** A row that fails does not take the others' results with it. */
async function runAll(
  wanted: readonly Row[],
  rounds: number,
): Promise<{ results: Result[]; missing: Missing[]; failed: string[] }> {
  const results: Result[] = [];
  const missing: Missing[] = [];
  const failed: string[] = [];
  for (const row of wanted) {
    const say = (text: string): void => void process.stderr.write(`${row.name}: ${text}\n`);
    say('…');
    try {
      for (const found of await row.run({ rounds, say })) {
        if ('figures' in found) results.push(found);
        else missing.push(found);
      }
    } catch (error) {
      failed.push(row.name);
      say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }
  return { results, missing, failed };
}

function fail(text: string): number {
  process.stderr.write(`sallyport: ${text}\n`);
  return 1;
}
