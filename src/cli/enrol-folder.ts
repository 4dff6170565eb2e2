/**
 * Signs a folder of CSRs. One that fails does not stop the others; one that is done is not done again, so the same
 * command after a failure goes on where it stopped.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import { isPrincipalId, principalName, printable } from '../common/base/principal.ts';
import type { CommandContext, ExitCode } from './context.ts';
import { csrCommonName } from './csr-common-name.ts';
import { makeDirectory, readSmallFile, writePublicFile } from './files.ts';
import { Gateway } from './gateway.ts';
import { print } from './print.ts';
import { formatTable } from './table.ts';

/** Requests under way at once: signing is short, waiting for the workers to hear of it is not. */
const parallel = 8;
/** CSRs between two lines of progress. */
const progressEvery = 100;

interface FileResult {
  readonly file: string;
  readonly id: string;
  readonly result: 'enrolled' | 'kept' | 'failed';
  readonly certificate?: string;
  readonly problem?: string;
}

export async function enrolFolder(
  context: CommandContext,
  csrDir: string,
  out: string,
  maxCsrBytes: number,
): Promise<ExitCode> {
  const files = csrFiles(csrDir);
  makeDirectory(out);
  const gateway = new Gateway(context);
  // Fails once and clearly when there is no gateway, instead of once per file.
  await gateway.status();
  const claimed = new Map<string, string>();
  const results: FileResult[] = [];
  const queue = files.values();
  const enrolRest = async (): Promise<void> => {
    for (const file of queue) {
      results.push(await enrolFile(gateway, { csrDir, out, file, maxCsrBytes, claimed }));
      if (results.length % progressEvery === 0) {
        context.err(`${results.length} of ${files.length}\n`);
      }
    }
  };
  await Promise.all(Array.from({ length: parallel }, enrolRest));
  results.sort((a, b) => (a.file < b.file ? -1 : 1));
  const failed = results.filter(({ result }) => result === 'failed').length;
  print(context, results, () => resultsText(results));
  if (failed === 0) return 0;
  throw new SallyportError('io', `${failed} of ${files.length} requests failed`, {
    hint: 'correct them and run the same command again; certificates that are there are kept',
  });
}

function csrFiles(csrDir: string): readonly string[] {
  let names: readonly string[];
  try {
    names = readdirSync(csrDir);
  } catch (error) {
    throw new SallyportError('io', `cannot read the folder ${csrDir}: ${messageOf(error)}`, {
      hint: 'name a folder of *.csr files',
      cause: error,
    });
  }
  const files = names.filter((name) => name.endsWith('.csr')).toSorted();
  if (files.length > 0) return files;
  throw new SallyportError('usage', `there is no *.csr in ${csrDir}`, {
    hint: 'name a folder of *.csr files',
  });
}

interface FileJob {
  readonly csrDir: string;
  readonly out: string;
  readonly file: string;
  readonly maxCsrBytes: number;
  /** Id → the file that has it, in this run. */
  readonly claimed: Map<string, string>;
}

async function enrolFile(gateway: Gateway, job: FileJob): Promise<FileResult> {
  const { file, claimed } = job;
  const name = file.slice(0, -'.csr'.length);
  const certificate = join(job.out, `${name}.crt`);
  let id = name;
  try {
    const csr = readSmallFile(join(job.csrDir, file), job.maxCsrBytes);
    id = csrCommonName(csr) ?? name;
    principalName('device', id);
    const other = claimed.get(id);
    if (other !== undefined) {
      throw new SallyportError('already-exists', `${other} is for the same device`);
    }
    claimed.set(id, file);
    if (existsSync(certificate)) return { file, id, result: 'kept', certificate };
    const identity = await gateway.enrol('device', id, csr);
    writePublicFile(certificate, identity.certificateChain);
    return { file, id, result: 'enrolled', certificate };
  } catch (error) {
    const shown = isPrincipalId(id) ? id : printable(id);
    return { file, id: shown, result: 'failed', problem: messageOf(error) };
  }
}

function resultsText(results: readonly FileResult[]): string {
  const rows = results.map(({ file, id, result, certificate, problem }) => [
    file,
    id,
    result,
    certificate ?? problem ?? '',
  ]);
  return formatTable(['FILE', 'DEVICE', 'RESULT', 'CERTIFICATE'], rows);
}
