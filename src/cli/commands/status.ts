import type { Command } from 'commander';
import type { GatewayStatus } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatFields, formatTable, formatTime } from '../table.ts';

export function addStatus(program: Command, run: Run): void {
  program
    .command('status')
    .description('show how the running gateway is')
    .action(() =>
      run(async (context) => {
        const status = await new Gateway(context).status();
        print(context, status, () => statusText(status));
        return 0;
      }),
    );
}

function statusText(status: GatewayStatus): string {
  const { device, service, operator } = status.identities;
  const fields = formatFields([
    ['version', status.version],
    ['started', formatTime(status.startedAt)],
    ['configuration', status.configPath ?? 'embedded defaults'],
    ['trust domain', status.trustDomain],
    ...Object.entries(status.listeners).map(
      ([name, { host, port }]) => [`listener ${name}`, `${host}:${port}`] as const,
    ),
    ['identities', `${device} devices, ${service} services, ${operator} operators`],
    ['snapshot', `epoch ${status.epoch}, seq ${status.seq}`],
    [
      'users',
      status.separateUsers
        ? 'control and workers run as users of their own'
        : 'one user for all processes (not started as root): one trust domain',
    ],
  ]);
  const workers = formatTable(
    ['WORKER', 'PID', 'CONNECTIONS', 'SESSIONS', 'SEQ'],
    status.workers.map((worker) =>
      [worker.slot, worker.pid, worker.connections, worker.sessions, worker.acknowledgedSeq].map(
        String,
      ),
    ),
  );
  return `${fields}\n${workers}`;
}
