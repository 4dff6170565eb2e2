/** Tells a device that it may renew its certificate: the command `renew`, which waits in its mailbox like any other. */
import type { PrincipalName } from '../common/base/principal.ts';
import { principalParts } from '../common/base/principal.ts';
import { localOperator } from './registry/local-operator.ts';
import type { LastCertificate } from './registry/registry.ts';
import type { WorkerAsks } from './worker-asks.ts';
import type { WorkerTable } from './worker-table.ts';

const commandName = 'renew';

export interface RenewalNoticeParts {
  readonly asks: Pick<WorkerAsks, 'ask'>;
  readonly workers: Pick<WorkerTable, 'listeners'>;
}

/**
 * The payload is JSON: `{"notAfter": "2026-…Z", "est": {"port": 8447, "path": "/.well-known/est/simplereenroll"}}`; `est`
 * is left out where nothing listens for it.
 *
 * @returns a function that resolves when the notice is in the mailbox, and rejects as `WorkerAsks.ask`.
 */
export function renewalReminder({ asks, workers }: RenewalNoticeParts) {
  return async (device: PrincipalName, { notAfter }: LastCertificate): Promise<void> => {
    const est = workers.listeners.get('est');
    const notice = {
      notAfter: new Date(notAfter).toISOString(),
      ...(est === undefined
        ? {}
        : { est: { port: est.port, path: '/.well-known/est/simplereenroll' } }),
    };
    await asks.ask({
      what: 'send-command',
      device: principalParts(device).id,
      name: commandName,
      payload: Buffer.from(JSON.stringify(notice)).toString('base64'),
      contentType: 'application/json',
      from: localOperator,
    });
  };
}
