/**
 * A mosquitto's configuration and ACL file as a configuration of Sallyport. Whatever cannot be carried over exactly is
 * left out or made narrower, and listed: nothing is allowed afterwards that mosquitto refuses.
 */
import path from 'node:path';
import { stringify } from 'yaml';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { parseConfig } from '../../common/config/parse-config.ts';
import { pemProblem } from '../../common/config/pem-problem.ts';
import { visible } from '../table.ts';
import { parseAcl } from './acl-file.ts';
import { placeText } from './finding.ts';
import type { Finding } from './finding.ts';
import { importRules } from './import-rules.ts';
import type { ImportedRole, ImportedRules, Lists } from './import-rules.ts';
import { fitSizes } from './limits.ts';
import { continueListeners } from './listeners.ts';
import type { Continued } from './listeners.ts';
import { isOn, readSettings } from './settings.ts';
import type { Settings } from './settings.ts';
import { SourceFiles } from './source-files.ts';
import { readStatements } from './statements.ts';

export interface ImportOptions {
  /** Folder below which absolute paths are looked up; undefined = they are where they say. */
  readonly root?: string | undefined;
  /** Port of the one listener that is meant. */
  readonly listener?: number | undefined;
}

export interface Imported {
  /** The configuration, YAML with the findings as comments. It has passed the check of `policy check`. */
  readonly text: string;
  readonly roles: readonly ImportedRole[];
  readonly findings: readonly Finding[];
}

interface TrustAnchor {
  readonly name: string;
  readonly file: string;
  readonly kind: 'device';
  readonly role: 'device';
  readonly from: 'cn';
  readonly register: 'auto';
}

/**
 * @throws SallyportError `io` for a file that cannot be read, `invalid-config` for what mosquitto refuses, `usage` when
 *   listeners differ in their rules and none is named.
 */
export function importMosquitto(conf: string, options: ImportOptions = {}): Imported {
  return new Import(conf, options).run();
}

class Import {
  readonly #conf: string;
  readonly #listener: number | undefined;
  readonly #files: SourceFiles;
  readonly #findings: Finding[] = [];
  /** Certificates that the configuration names. */
  readonly #pems: Record<string, string> = Object.create(null) as Record<string, string>;

  constructor(conf: string, { root, listener }: ImportOptions) {
    this.#conf = path.resolve(conf);
    this.#listener = listener;
    this.#files = new SourceFiles(path.dirname(this.#conf), root);
  }

  run(): Imported {
    const settings = readSettings(readStatements(this.#conf, this.#files));
    this.#findings.push(...settings.findings);
    const continued = continueListeners(settings, this.#listener);
    this.#findings.push(...continued.findings);
    const { roles, findings } = this.#rules(settings, continued);
    this.#findings.push(...findings);
    const config = {
      listeners: {
        ...(continued.mqtts === undefined ? {} : { mqtts: continued.mqtts }),
        https: continued.https,
      },
      ...(continued.minVersion === undefined ? {} : { tls: { minVersion: continued.minVersion } }),
      ...this.#trustAnchors(continued),
      roles: Object.fromEntries(roles.map(({ name, allow, deny }) => [name, written(allow, deny)])),
      ...limitsOf(settings),
      ...(settings.debugLog ? { logs: { level: 'debug' } } : {}),
    };
    const yaml = stringify(config, { lineWidth: 0, aliasDuplicateObjects: false });
    const sorted = this.#sortedFindings();
    const text = `${header(this.#conf, roles, sorted)}\n${yaml}`;
    this.#check(text);
    return { text, roles, findings: sorted };
  }

  #rules(settings: Settings, { aclFile, origins }: Continued): ImportedRules {
    if (aclFile === undefined) {
      return this.#noRules(
        settings,
        'acl_file',
        'there is none, which lets every client of mosquitto do everything',
        'write roles, or an ACL file, and import again',
      );
    }
    const file = this.#files.locate(aclFile.value);
    // Read before anything else is said of it: a file that is missing or wrong is an error, not a finding.
    const acl = parseAcl(this.#files.again(file), file);
    if (origins.some(({ options }) => options.has('mount_point'))) {
      return this.#noRules(
        settings,
        'acl_file with mount_point',
        'topics are the same for every listener, and the rules are about topics with the prefix of one',
        'write the prefix into the clients and the rules, remove mount_point and import again',
      );
    }
    if (settings.hasPlugin) {
      return this.#noRules(
        settings,
        'acl_file with a plugin',
        'a plugin may refuse what the file allows',
        'if it refuses nothing, or its rules are in the file, remove it and import again',
      );
    }
    const clientIdIsUser = origins.every((origin) => isOn(origin, 'use_username_as_clientid'));
    const imported = importRules(acl, clientIdIsUser);
    if (acl.patterns.length > 0) return imported;
    const finding: Finding = {
      file,
      line: 1,
      what: 'no pattern',
      effect: 'left-out',
      reason: 'a user with a section is a service here, so devices may do nothing',
      instead:
        'write what devices may do as pattern with %u and import again, or change the role device',
    };
    return { roles: imported.roles, findings: [...imported.findings, finding] };
  }

  #noRules(settings: Settings, what: string, reason: string, instead: string): ImportedRules {
    const [listener] = settings.listeners;
    const place = listener?.place ?? { file: this.#conf, line: 1 };
    const finding: Finding = { ...place, what, effect: 'left-out', reason, instead };
    const empty = importRules({ anonymous: [], users: new Map(), patterns: [] }, false);
    return { roles: empty.roles, findings: [finding] };
  }

  /** Authorities whose certificates name the users of mosquitto; any other could name whom it likes. */
  #trustAnchors({ origins }: Continued): { ca?: { trustAnchors: readonly TrustAnchor[] } } {
    const anchors: TrustAnchor[] = [];
    for (const origin of origins) {
      const revoked = origin.options.get('crlfile');
      if (revoked !== undefined) {
        this.#findings.push({
          ...revoked.place,
          what: 'crlfile',
          effect: 'left-out',
          reason: 'revocation lists of other authorities are not read',
          instead: 'revoke each device that it lists: device revoke',
        });
      }
      const named = origin.options.get('cafile');
      if (named === undefined) continue;
      const file = this.#files.locate(named.value);
      if (anchors.some((anchor) => anchor.file === file)) continue;
      const problem = this.#anchorProblem(origin, file);
      if (problem !== undefined) {
        this.#findings.push({ ...named.place, what: 'cafile', effect: 'left-out', ...problem });
        continue;
      }
      const name = anchors.length === 0 ? 'mosquitto' : `mosquitto-${anchors.length + 1}`;
      anchors.push({ name, file, kind: 'device', role: 'device', from: 'cn', register: 'auto' });
    }
    return anchors.length === 0 ? {} : { ca: { trustAnchors: anchors } };
  }

  #anchorProblem(
    origin: Continued['origins'][number],
    file: string,
  ): Pick<Finding, 'reason' | 'instead'> | undefined {
    const enrol = 'enrol the devices: device enroll';
    if (!isOn(origin, 'require_certificate') || !isOn(origin, 'use_identity_as_username')) {
      return isOn(origin, 'use_subject_as_username')
        ? {
            reason: 'a subject cannot be an id',
            instead: `${enrol}, or name the authority in ca.trustAnchors`,
          }
        : { reason: 'its certificates did not say who the user is', instead: enrol };
    }
    if (origin.options.has('crlfile')) {
      return {
        reason: 'its revocation list (crlfile) would not be asked',
        instead: `${enrol}; or name it in ca.trustAnchors with register: known, and revoke what it lists`,
      };
    }
    try {
      const pem = this.#files.again(file);
      this.#pems[file] = pem;
      const problem = pemProblem(pem);
      return problem === undefined
        ? undefined
        : { reason: `it ${problem}`, instead: 'name its certificates in ca.trustAnchors' };
    } catch (error) {
      return { reason: messageOf(error), instead: 'name it in ca.trustAnchors where it is' };
    }
  }

  /** In the order of the files as they were read. */
  #sortedFindings(): readonly Finding[] {
    const order = [...new Set(this.#findings.map(({ file }) => file))];
    return this.#findings.toSorted(
      (a, b) => order.indexOf(a.file) - order.indexOf(b.file) || a.line - b.line,
    );
  }

  #check(text: string): void {
    try {
      parseConfig({ configPath: 'imported', configText: text, files: this.#pems });
    } catch (error) {
      throw new SallyportError('internal', `the import is not valid: ${messageOf(error)}`, {
        hint: 'this is a defect of Sallyport; please report it',
        cause: error,
      });
    }
  }
}

function written(allow: Lists, deny: Lists): Record<string, Record<string, readonly string[]>> {
  const lists = ({ publish, subscribe }: Lists): Record<string, readonly string[]> => ({
    ...(publish.length > 0 ? { publish } : {}),
    ...(subscribe.length > 0 ? { subscribe } : {}),
  });
  return {
    ...(allow.publish.length + allow.subscribe.length > 0 ? { allow: lists(allow) } : {}),
    ...(deny.publish.length + deny.subscribe.length > 0 ? { deny: lists(deny) } : {}),
  };
}

function limitsOf(settings: Settings): { limits?: Record<string, string | number> } {
  const limits = { ...settings.limits };
  fitSizes(limits);
  return Object.keys(limits).length === 0 ? {} : { limits };
}

function header(
  conf: string,
  roles: readonly ImportedRole[],
  findings: readonly Finding[],
): string {
  const services = roles.flatMap(({ name, users }) =>
    users.length === 0
      ? []
      : [
          `role ${name}: ${users.slice(0, 20).join(', ')}${users.length > 20 ? `, and ${users.length - 20} more` : ''}`,
        ],
  );
  const lines = [
    `Made from ${conf}; docs/moving-from-mosquitto.md says how the two differ.`,
    'Nothing is allowed here that was not allowed there. Keys that are not here have their defaults.',
    ...(services.length === 0
      ? []
      : [
          '',
          'Users with a section of their own are services: service create NAME --role ROLE.',
          ...services,
        ]),
    '',
    findings.length === 0 ? 'Everything was carried over.' : 'Not carried over, or only in part:',
    ...findings.map(findingText),
  ];
  return lines.map((line) => (line === '' ? '#' : `# ${visible(line)}`)).join('\n');
}

/** One line, for people. */
export function findingText(finding: Finding): string {
  const { what, effect, reason, instead } = finding;
  const verdict = effect === 'left-out' ? 'left out' : 'narrower';
  return `${placeText(finding)}: ${what}: ${verdict}: ${reason}; ${instead}`;
}
