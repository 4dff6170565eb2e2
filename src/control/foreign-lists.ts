/** The revocation lists of other authorities, fitted to what control has. */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../common/base/clock.ts';
import type { Logger } from '../common/base/logger.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { Configuration } from './configuration.ts';
import type { Registry } from './registry/registry.ts';
import { CrlFiles } from './revocation/external/crl-files.ts';
import { CrlRecords } from './revocation/external/crl-records.ts';
import { ExternalCrls, mostRevokedByLists } from './revocation/external/external-crls.ts';
import { obtainCrl } from './revocation/external/obtain-crl.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';

/** Below control's own folder. */
const crlFolder = 'crl';

export interface ForeignListParts {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly registry: Pick<Registry, 'certificate'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly publisher: Pick<SnapshotPublisher, 'publish' | 'publishSnapshot'>;
  /** Made after the lists, and asked only once they are in use. */
  readonly configuration: () => Pick<Configuration, 'current' | 'trustChanged'>;
  readonly logger: Logger;
}

export function createForeignLists(parts: ForeignListParts): ExternalCrls {
  const { database, clock, registry, auditLog, publisher, configuration, logger } = parts;
  return new ExternalCrls({
    clock,
    logger,
    records: new CrlRecords(database),
    files: new CrlFiles(crlFolder),
    obtain: (source, limits) => {
      const { approvedOnly } = configuration().current.tls;
      return obtainCrl(source, { ...limits, approvedOnly });
    },
    hasExpired: (anchor, serial) => {
      const certificate = registry.certificate(anchor, serial);
      return certificate !== undefined && certificate.notAfter < clock.now() - 1_000;
    },
    auditLog,
    publish: (changes) => publisher.publish(changes),
    publishSnapshot: () => publisher.publishSnapshot(),
    mostRevoked: mostRevokedByLists,
    onTrust: (withdrawn) => configuration().trustChanged(withdrawn),
  });
}
