/** Everything of control that has a path: opened while it may, and handed to the user that control stays. */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../common/base/clock.ts';
import type { Logger } from '../common/base/logger.ts';
import { principalName } from '../common/base/principal.ts';
import { dropPrivileges } from '../common/base/privileges.ts';
import type { Config } from '../common/config/config.ts';
import type { SupervisorToControl } from '../common/ipc/messages.ts';
import { auditFile, openAuditLog } from './audit-log/audit-log.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { caFolder } from './ca/certificate-files.ts';
import { pkcs11Package } from './ca/cryptoki.ts';
import { ensureAuthority } from './ca/ensure-authority.ts';
import { openKeys } from './ca/open-keys.ts';
import { ShownPins } from './ca/pins.ts';
import { statusExtensions } from './ca/status-urls.ts';
import { Invitations } from './enrolment/invitations.ts';
import { CertificateKeys } from './registry/certificate-keys.ts';
import { RegisteredKeys } from './registry/registered-keys.ts';
import { Registry } from './registry/registry.ts';
import { takesSignatures } from './snapshot/takes-signatures.ts';
import { databaseFile, openDatabase } from './store/database.ts';
import { assertOwnFiles, giveFilesTo } from './store/files.ts';
import { loadMasterKey } from './store/load-master-key.ts';
import type { MasterKey } from './store/master-key.ts';
import { readSecret } from './store/read-secret.ts';

const firstOperator = 'admin';
const invitationMs = 24 * 3_600_000;

export interface Opened {
  readonly config: Config;
  readonly database: DatabaseSync;
  readonly masterKey: MasterKey;
  readonly auditLog: AuditLog;
  readonly registry: Registry;
  readonly keys: RegisteredKeys;
  readonly certificateKeys: CertificateKeys;
  readonly metricsToken: string | undefined;
  readonly operatorToken: string | undefined;
  readonly authority: CertificateAuthority;
}

export interface OpeningOptions {
  readonly config: Config;
  readonly welcome: Pick<
    Extract<SupervisorToControl, { type: 'welcome' }>,
    'announce' | 'privileges'
  >;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The configuration in force, whenever a certificate is issued. */
  readonly latest: () => Config;
}

/** Opens what has a path and becomes control's own user. @throws SallyportError when something is not as it has to be. */
export async function openAll(options: OpeningOptions): Promise<Opened> {
  const { config, welcome, clock, logger, latest } = options;
  assertOwnFiles();
  const environment = process.env;
  const masterKey = loadMasterKey(config.ca.masterKey, caFolder, environment);
  const metricsToken =
    config.metrics.token === undefined ? undefined : readSecret(config.metrics.token, environment);
  const { pkcs11 } = config.ca;
  const token =
    pkcs11 === undefined ? undefined : { config: pkcs11, pin: readSecret(pkcs11.pin, environment) };
  if (token !== undefined) await pkcs11Package();
  const database = openDatabase(databaseFile);
  const certificateKeys = new CertificateKeys(database, clock, () => takesSignatures(latest()));
  const keys = new RegisteredKeys({ database, clock, masterKey, certificateKeys, logger });
  const registry = new Registry(database, clock, keys);
  const auditLog = openAuditLog({ path: auditFile, database, clock });
  const operatorToken = welcome.announce ? invitationToShow(database, clock) : undefined;
  if (welcome.privileges !== undefined) {
    giveFilesTo('.', welcome.privileges.uid, welcome.privileges.gid);
    dropPrivileges(welcome.privileges);
  }
  const shownPins = new ShownPins(database, clock);
  // As the user that control stays: what the module of a hardware key makes for itself has to be that user's.
  const authority = await ensureAuthority({
    keys: await openKeys(masterKey, config.ca.keyKind, token, clock),
    masterKey,
    trustDomain: config.trustDomain,
    serverNames: config.serverNames,
    deviceDays: config.ca.deviceDays,
    serverDays: config.ca.serverDays,
    leafExtensions: ({ id }) => statusExtensions(latest().ca.statusUrl, id),
    isPinned: (pin) => shownPins.has('server', pin),
    clock,
    logger,
  });
  registry.adoptUnknownIssuer(authority.issuers.at(-1)?.id ?? '');
  return {
    config,
    database,
    masterKey,
    auditLog,
    registry,
    keys,
    certificateKeys,
    metricsToken,
    operatorToken,
    authority,
  };
}

/** A fresh one-time enrolment of the first operator, until one has been shown to somebody. */
function invitationToShow(database: DatabaseSync, clock: Clock): string | undefined {
  if (database.prepare('SELECT 1 FROM announced').get() !== undefined) return undefined;
  const operator = principalName('operator', firstOperator);
  return new Invitations(database, clock).replace(operator, invitationMs).token;
}
