import type { Command } from 'commander';
import type { PrincipalKind, StandingAction } from '../../common/base/principal.ts';
import type { StandingResult } from '../../control/admin/ports.ts';
import { revocationReasons } from '../../common/base/revocation-reason.ts';
import type { Run } from '../action.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';

const descriptions: Readonly<Record<StandingAction, string>> = Object.freeze({
  suspend: 'cut it off until it is resumed',
  resume: 'end a suspension',
  quarantine: 'cut it off from everything but firmware and time, until it is released',
  release: 'end a quarantine',
  revoke: 'cut it off for good and revoke its certificates, for everybody who asks CRLs or OCSP',
  reinstate: 'let a revoked id enrol again',
});

const revokeReason = `for the audit log; one that begins with ${Object.keys(revocationReasons).join(', ')} is told to others, too`;

export function addStanding(
  group: Command,
  run: Run,
  kind: PrincipalKind,
  actions: readonly StandingAction[],
): void {
  for (const action of actions) {
    group
      .command(action)
      .description(descriptions[action])
      .argument('<id>')
      .option('--reason <text>', action === 'revoke' ? revokeReason : 'for the audit log')
      .action((id: string, { reason }: { readonly reason?: string }) =>
        run(async (context) => {
          const result = await new Gateway(context).changeStanding(kind, id, action, reason);
          print(context, result, () => standingText(result));
          return 0;
        }),
      );
  }
}

function standingText(result: StandingResult): string {
  const { name, standing, revocationReason, acknowledged, killed } = result;
  const silent = killed === 0 ? '' : `, ${killed} silent and killed`;
  const told = revocationReason === undefined ? '' : `; CRL and OCSP say: ${revocationReason}`;
  return `${name} is ${standing} (${acknowledged} workers acknowledged${silent})${told}.\n`;
}
