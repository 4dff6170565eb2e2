import type { Command } from 'commander';
import { principalName } from '../../common/base/principal.ts';
import type { Run } from '../action.ts';
import { parseDuration } from '../duration.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';
import { formatTime } from '../table.ts';

export function addOperatorInvite(group: Command, run: Run): void {
  group
    .command('invite')
    .description('make a one-time enrolment for an operator')
    .argument('<name>')
    .option('--ttl <duration>', 'how long it is good: 15m, 1h, 7d', '1h')
    .action((name: string, { ttl }: { readonly ttl: string }) =>
      run(async (context) => {
        principalName('operator', name);
        const ttlMs = parseDuration(ttl);
        const invitation = await new Gateway(context).inviteOperator(name, ttlMs);
        print(
          context,
          invitation,
          () =>
            `${invitation.token}\nGood once, until ${formatTime(invitation.expires)}, for operator/${name}; it is not shown again. How to use it: docs/cli.md, "Enrolling an operator".\n`,
        );
        return 0;
      }),
    );
}
