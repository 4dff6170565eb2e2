/** What strangers are told of the gateway and of what it has issued, fitted together: signed time, staples, CRLs, OCSP. */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../common/base/clock.ts';
import type { Logger } from '../common/base/logger.ts';
import { decodePem } from '../common/codec/der/pem.ts';
import type { Config } from '../common/config/config.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { TimeKey } from './ca/time-key.ts';
import { RevocationDesk } from './revocation-desk.ts';
import { additionMs } from './snapshot/publisher.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';
import { StatusMaterials } from './status-materials.ts';

export interface StatusPartsOptions {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly later: (ms: number, action: () => void) => () => void;
  readonly authority: CertificateAuthority;
  readonly publisher: Pick<SnapshotPublisher, 'publish' | 'position'>;
  readonly config: () => Config;
  /** OCSP requests of one worker that it lets through in a second. */
  readonly callsPerSecond: number;
  readonly logger: Logger;
}

export function createStatusParts(options: StatusPartsOptions): {
  readonly status: StatusMaterials;
  readonly revocation: RevocationDesk;
} {
  const { database, clock, later, authority, publisher, config, callsPerSecond, logger } = options;
  const status = new StatusMaterials({
    time: new TimeKey({ clock, issuer: () => authority.issuing }),
    // The first snapshot has all of it.
    publish: async (changes) =>
      publisher.position.seq === 0 ? undefined : publisher.publish(changes, additionMs),
    logger,
  });
  const revocation = new RevocationDesk({
    database,
    clock,
    later,
    issuers: () => authority.issuers,
    settings: () => config().ca,
    callsPerSecond,
    serverCertificates: () =>
      decodePem('CERTIFICATE', authority.serverTls().certificateChain).slice(0, 1),
    ownCertificates: () => {
      const { time } = status.current;
      return time === undefined ? [] : [Buffer.from(time.certificate, 'base64')];
    },
    setStaples: (staples) => status.setStaples(staples),
    logger,
  });
  return { status, revocation };
}
