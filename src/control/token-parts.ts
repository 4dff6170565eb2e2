/** Tokens, fitted to what control has. */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../common/base/clock.ts';
import type { Logger } from '../common/base/logger.ts';
import type { Config } from '../common/config/config.ts';
import { tokenListener } from '../common/config/own-url.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { Configuration } from './configuration.ts';
import { fetchBytes } from './outside/fetch-bytes.ts';
import type { Registry } from './registry/registry.ts';
import type { ExternalCrls } from './revocation/external/external-crls.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';
import type { MasterKey } from './store/master-key.ts';
import { TokenServices } from './token-services.ts';
import type { WorkerTable } from './worker-table.ts';

export interface TokenPartsOptions {
  readonly database: DatabaseSync;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly publisher: Pick<SnapshotPublisher, 'publish' | 'position'>;
  readonly crls: Pick<ExternalCrls, 'isRevoked'>;
  readonly workers: Pick<WorkerTable, 'listeners'>;
  /** Made after them, and asked only once they are in use. */
  readonly configuration: () => Pick<Configuration, 'current' | 'anchors'>;
  readonly trustDomain: string;
}

export function createTokenServices(options: TokenPartsOptions): TokenServices {
  const { configuration, registry, publisher, crls, workers, ...parts } = options;
  const current = (): Config => configuration().current;
  return new TokenServices({
    ...parts,
    registry,
    fetch: (url, limits) =>
      fetchBytes(url, { ...limits, approvedOnly: current().tls.approvedOnly }),
    tokens: () => current().tokens,
    wantsAssertions: () => current().upstreams.some(({ identity }) => identity === 'jwt'),
    serverNames: () => current().serverNames,
    httpsPort: () => {
      const listener = tokenListener(current().listeners);
      // Any free one: the first worker that listens says which.
      return listener?.port === 0 ? workers.listeners.get(listener.name)?.port : listener?.port;
    },
    anchors: () => configuration().anchors,
    isRevoked: (anchor, serial) => crls.isRevoked(anchor, serial),
    keysOf: (name) => (registry.get(name) === undefined ? [] : (registry.entry(name).keys ?? [])),
    // The first snapshot has all of it.
    publish: async (changes, limitMs) =>
      publisher.position.seq === 0 ? undefined : publisher.publish(changes, limitMs),
  });
}
