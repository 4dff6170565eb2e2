/** Certificates from requests, over the admin API as a factory line asks for them, against `openssl ca`. */
import { encodePem } from '../../src/common/codec/der/pem.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { writeCertificationRequest } from '../../src/control/enrolment/write-request.ts';
import { newKey } from '../../test/harness/issuance.ts';
import { Admin } from '../harness/admin.ts';
import { OpensslCa } from '../harness/openssl-ca.ts';
import { cpuWhile } from '../harness/process-tree.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { startRaised } from '../harness/sallyport.ts';

const perRound = 500;
const atOnce = 8;

interface Request {
  readonly id: string;
  /** PEM. */
  readonly csr: string;
}

export const issuance: Row = {
  name: 'issuance',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using gateway = await startRaised({});
    const peer = new OpensslCa();
    using admin = new Admin(gateway, atOnce);
    let made = 0;
    const requests = (): readonly Request[] =>
      Array.from({ length: perRound }, () => requestOf(`d${(made += 1)}`));
    const [ours = [], theirs = []] = await alternate(rounds, [
      {
        round: async () => {
          const all = requests();
          const nanoseconds = await cpuWhile(gateway.pid, () =>
            enrolAll(all, ({ id, csr }) =>
              admin.create(`/v1/principals/device/${id}/enrol`, { csr }),
            ),
          );
          return nanoseconds / perRound / 1_000;
        },
      },
      { round: async () => peer.issue(requests().map(({ csr }) => csr)) / perRound },
    ]);
    const notes = [
      `${perRound} requests a round, P-256, all processes; a device each, registered and audited durably and told to the worker`,
    ];
    const unit = 'µs CPU per certificate';
    return [
      {
        row: this.name,
        subject: 'a certificate from its request',
        unit,
        figures: ours,
        pass: 1_000_000 / 350,
        notes: [...notes, '2,857 µs are 350 certificates a CPU-second'],
      },
      {
        row: this.name,
        subject: 'the same beside openssl ca',
        unit,
        figures: ours,
        peer: { name: 'openssl ca', figures: theirs },
        notes: [
          ...notes,
          'one openssl for all requests of a round; it writes its index once, at the end',
        ],
      },
    ];
  },
};

function requestOf(id: string): Request {
  const csr = writeCertificationRequest(principalName('device', id), newKey());
  return { id, csr: encodePem('CERTIFICATE REQUEST', csr) };
}

async function enrolAll(
  requests: readonly Request[],
  enrolOne: (request: Request) => Promise<unknown>,
): Promise<void> {
  const waiting = requests.values();
  const lane = async (): Promise<void> => {
    for (const request of waiting) await enrolOne(request);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}
