import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { readSmallFile, writePublicFile } from '../files.ts';
import { enrolFolder } from '../enrol-folder.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';

/** Bytes of a CSR file; a P-384 request with a long SAN is below 2 KiB. */
const maxCsrBytes = 16 * 1024;

interface EnrollOptions {
  readonly csr?: string;
  readonly csrDir?: string;
  readonly out: string;
}

export function addDeviceEnroll(group: Command, run: Run): void {
  group
    .command('enroll')
    .description('sign the CSR of a device, or a folder of CSRs')
    .argument('[id]', 'the device; with --csr-dir the common name of each CSR, or its file name')
    .option('--csr <file>', 'certificate signing request, PEM')
    .option('--csr-dir <dir>', 'folder of *.csr')
    .requiredOption('--out <path>', 'certificate to write; with --csr-dir the folder for NAME.crt')
    .action((id: string | undefined, options: EnrollOptions) =>
      run(async (context) => {
        const { csr, csrDir, out } = options;
        if (csrDir !== undefined && csr === undefined && id === undefined) {
          return enrolFolder(context, csrDir, out, maxCsrBytes);
        }
        if (csr !== undefined && csrDir === undefined && id !== undefined) {
          return enrolOne(context, id, csr, out);
        }
        throw new SallyportError('usage', 'say either one device or a folder', {
          hint: '"device enroll ID --csr FILE --out FILE" or "device enroll --csr-dir DIR --out DIR"',
        });
      }),
    );
}

async function enrolOne(
  context: CommandContext,
  id: string,
  csrPath: string,
  out: string,
): Promise<0> {
  principalName('device', id);
  const csr = readSmallFile(csrPath, maxCsrBytes);
  const identity = await new Gateway(context).enrol('device', id, csr);
  writePublicFile(out, identity.certificateChain);
  const { name, serial, notAfter } = identity;
  print(
    context,
    { name, certificate: out, serial, notAfter },
    () =>
      `${name}: certificate ${serial} in ${out}, good until ${new Date(notAfter).toISOString()}\n`,
  );
  return 0;
}
