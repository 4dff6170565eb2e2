/** OCSP answers over plain HTTP: signed for each request, and given again, against `openssl ocsp`. */
import { cpuWhile } from '../harness/process-tree.ts';
import { ocspRequest, OpensslOcsp, splitChain } from '../harness/openssl-ocsp.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { startRaised } from '../harness/sallyport.ts';
import { scratchFolder } from '../harness/scratch.ts';
import { asked, askOcsp } from '../load/ocsp-client.ts';
import type { OcspAsk } from '../load/ocsp-client.ts';

const perRound = 2_000;
const nonceBytes = 16;
const unit = 'µs CPU per answer';

/** Above what this load reaches; all of it is still counted. */
const limits = [
  'statusConnections: 100000',
  'sourceStatusConnections: 100000',
  'sourceStatusPerSecond: 1000000',
  'statusCallsPerSecond: 100000',
];

export const ocsp: Row = {
  name: 'ocsp',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using gateway = await startRaised({
      listener: 'status: { host: 127.0.0.1, port: 0 }',
      config: ['ca: { ocsp: { signaturesPerSecond: 100000 } }'],
      limits,
    });
    await using peer = await OpensslOcsp.start();
    const device = await gateway.device('d1');
    const folder = scratchFolder('ocsp-requests');
    const [leaf = '', issuer = ''] = splitChain(folder, device.crt);
    const withNonce = ocspRequest(folder, issuer, leaf);
    const plain = ocspRequest(folder, issuer, leaf, '-no_nonce');
    const port = gateway.statusPort;
    const cost = async (pid: number, ask: OcspAsk): Promise<number> => {
      const nanoseconds = await cpuWhile(pid, () => askOcsp(ask, perRound));
      return nanoseconds / asked(perRound) / 1_000;
    };
    const ours = (request: Buffer, nonce: number, keepAlive: boolean): Promise<number> =>
      cost(gateway.pid, { port, request, nonceBytes: nonce, keepAlive });
    const theirs: OcspAsk = {
      port: peer.port,
      request: peer.request,
      nonceBytes,
      keepAlive: false,
    };
    const [signed = [], kept = [], keptOpen = [], signedByPeer = []] = await alternate(rounds, [
      { round: () => ours(withNonce, nonceBytes, false) },
      { round: () => ours(plain, 0, false) },
      { round: () => ours(plain, 0, true) },
      { round: () => cost(peer.pid, theirs) },
    ]);
    const openssl = { name: 'openssl ocsp', figures: signedByPeer };
    const notes = [`${perRound} requests a round, 16 on their way`];
    return [
      {
        row: this.name,
        subject: 'OCSP, signed for each request (nonce), a connection each',
        unit,
        figures: signed,
        pass: 1_000,
        notes: [...notes, 'worker and control together; 1,000 µs are 1,000 answers a CPU-second'],
      },
      {
        row: this.name,
        subject: 'the same beside openssl ocsp',
        unit,
        figures: signed,
        peer: openssl,
        notes: [...notes, 'openssl answers from a file with one line'],
      },
      {
        row: this.name,
        subject: 'OCSP, pre-signed, a connection each; openssl signs each',
        unit,
        figures: kept,
        peer: openssl,
        notes,
      },
      {
        row: this.name,
        subject: 'OCSP, pre-signed, connections kept open',
        unit,
        figures: keptOpen,
        pass: 100,
        notes: [...notes, '100 µs are 10,000 answers a CPU-second'],
      },
    ];
  },
};
