/** Statements sorted into what they are about: the broker as a whole, or one of its listeners. */
import { printable } from '../../common/base/principal.ts';
import { refused } from './finding.ts';
import type { Finding, Place } from './finding.ts';
import { isLimit, limitOf } from './limits.ts';
import { isBridgeWord, replacementOf } from './options.ts';
import type { Replacement } from './options.ts';
import type { Statement } from './statements.ts';

export interface Named {
  readonly value: string;
  readonly place: Place;
}

export interface MosquittoListener {
  readonly place: Place;
  readonly port: number;
  /** Undefined: every address. */
  readonly host: string | undefined;
  readonly options: ReadonlyMap<ListenerOption, Named>;
}

export interface Settings {
  readonly perListener: boolean;
  /** Never empty: without any, mosquitto listens on 1883 of the machine itself. */
  readonly listeners: readonly MosquittoListener[];
  /** Of all listeners; with `perListener` each has its own among its options. */
  readonly aclFile: Named | undefined;
  /** For `limits` of the configuration. */
  readonly limits: Readonly<Record<string, string | number>>;
  readonly debugLog: boolean;
  /** It may refuse what an ACL file allows. */
  readonly hasPlugin: boolean;
  readonly findings: readonly Finding[];
}

/** What is asked of a listener later on. */
const listenerOptions = [
  'acl_file',
  'cafile',
  'certfile',
  'crlfile',
  'mount_point',
  'protocol',
  'require_certificate',
  'tls_version',
  'use_identity_as_username',
  'use_subject_as_username',
  'use_username_as_clientid',
] as const;
export type ListenerOption = (typeof listenerOptions)[number];

interface OpenListener {
  readonly place: Place;
  port: number;
  host: string | undefined;
  readonly options: Map<ListenerOption, Named>;
}

const carriedElsewhere: ReadonlySet<string> = new Set(['certfile']);

const unknownOption: Replacement = {
  reason: 'it is no option of mosquitto 2 that is known here',
  instead: 'look it up in mosquitto.conf(5), then in docs/configuration.md',
};

/** @throws SallyportError `invalid-config` with file and line for what mosquitto refuses, or what has two meanings. */
export function readSettings(statements: readonly Statement[]): Settings {
  return new Reader().read(statements);
}

class Reader {
  readonly #findings: Finding[] = [];
  readonly #limits: Record<string, string | number> = {};
  readonly #listeners: OpenListener[] = [];
  #default: OpenListener | undefined;
  #defaultIsThere = false;
  #perListener = false;
  #aclFile: Named | undefined;
  #debugLog = false;
  #hasPlugin = false;
  #inBridge = false;
  /** The listener that this part of the configuration is about; undefined = the default one. */
  #current: OpenListener | undefined;
  #part = 0;

  read(statements: readonly Statement[]): Settings {
    for (const statement of statements) {
      if (statement.part !== this.#part) {
        // What is said in an included file begins and ends with the default listener, and so do bridges.
        this.#part = statement.part;
        this.#current = undefined;
        this.#inBridge = false;
      }
      this.#take(statement);
    }
    const place = statements[0]?.place ?? { file: 'mosquitto.conf', line: 1 };
    return {
      perListener: this.#perListener,
      listeners: this.#allListeners(place),
      aclFile: this.#aclFile,
      limits: this.#limits,
      debugLog: this.#debugLog,
      hasPlugin: this.#hasPlugin,
      findings: this.#findings,
    };
  }

  #take(statement: Statement): void {
    const { name, value, place } = statement;
    if (name === 'connection') this.#inBridge = true;
    else if (this.#inBridge && isBridgeWord(name)) return;
    const option = listenerOptions.find((known) => known === name);
    if (option !== undefined) this.#listenerOption(option, statement);
    if (option !== undefined && !carriedElsewhere.has(name)) return;
    if (isLimit(name)) return this.#limit(statement);
    // Said with `certfile`, without which it is of no use.
    if (name === 'keyfile') return;
    switch (name) {
      case 'listener':
        return this.#listener(statement);
      case 'port':
        this.#defaultListener(place).port = portOf(value, place);
        this.#defaultIsThere = true;
        return;
      case 'bind_address':
        this.#defaultListener(place).host = value;
        this.#defaultIsThere = true;
        return;
      case 'per_listener_settings':
        if (this.#aclFile !== undefined) {
          throw refused(place, 'per_listener_settings comes after acl_file', 'write it first');
        }
        this.#perListener = booleanOf(statement);
        return;
      case 'retain_available':
        if (!booleanOf(statement)) this.#limits['retainedPerIdentity'] = 0;
        return;
      case 'log_type':
        if (value !== 'debug' && value !== 'all') return this.#leftOut(statement);
        this.#debugLog = true;
        return;
      case 'auth_plugin':
      case 'global_plugin':
      case 'plugin':
      case 'plugin_load':
        this.#hasPlugin = true;
        return this.#leftOut(statement);
      // What holds in any case.
      case 'allow_anonymous':
      case 'listener_allow_anonymous':
        if (booleanOf(statement)) this.#leftOut(statement);
        return;
      case 'persistence':
        if (!booleanOf(statement)) this.#leftOut(statement);
        return;
      default:
        this.#leftOut(statement);
    }
  }

  #leftOut({ name, place }: Statement): void {
    const { reason, instead } = replacementOf(name) ?? unknownOption;
    this.#findings.push({ ...place, what: printable(name), effect: 'left-out', reason, instead });
  }

  #listener({ value, place, part }: Statement): void {
    const [port = '', ...rest] = value.split(/ +/u);
    const host = rest.join(' ');
    const listener: OpenListener = {
      place,
      port: portOf(port, place),
      host: host === '' ? undefined : host,
      options: new Map(),
    };
    this.#listeners.push(listener);
    this.#current = listener;
    this.#part = part;
  }

  #listenerOption(option: ListenerOption, { name, value, place, part }: Statement): void {
    if (value === '') throw refused(place, `${name} has no value`, 'give it one');
    const shared = option === 'acl_file' && !this.#perListener;
    if (shared) {
      if (this.#aclFile !== undefined)
        throw refused(place, 'acl_file is there twice', 'remove one');
      this.#aclFile = { value, place };
      return;
    }
    if (part > 0 && this.#current === undefined && this.#listeners.length > 0) {
      throw refused(
        place,
        `it cannot be told to which listener ${name} belongs`,
        'write it below a "listener" of the same file: mosquitto gives it to the default listener',
      );
    }
    const { options } = this.#current ?? this.#defaultListener(place);
    if (options.has(option) && option !== 'protocol') {
      throw refused(place, `${name} is there twice for the same listener`, 'remove one');
    }
    options.set(option, { value, place });
  }

  #limit(statement: Statement): void {
    const { name, value, place } = statement;
    const result = limitOf(name, value);
    const found = { ...place, what: name };
    if ('problem' in result) {
      this.#findings.push({
        ...found,
        effect: 'left-out',
        reason: result.problem,
        instead: 'see limits in docs/configuration.md',
      });
    } else if ('unlimited' in result) {
      this.#findings.push({
        ...found,
        effect: 'narrower',
        reason: 'nothing is without a bound here',
        instead: `limits.${result.unlimited} keeps its default: set it to what you need`,
      });
    } else {
      const before = this.#limits[result.key];
      const { value: now } = result;
      // Listeners may differ in it: the smallest holds for all.
      this.#limits[result.key] =
        typeof before === 'number' && typeof now === 'number' ? Math.min(before, now) : now;
      if (result.narrower === undefined) return;
      this.#findings.push({
        ...found,
        effect: 'narrower',
        reason: result.narrower,
        instead: 'nothing, if that will do',
      });
    }
  }

  #defaultListener(place: Place): OpenListener {
    this.#default ??= { place, port: 1883, host: undefined, options: new Map() };
    return this.#default;
  }

  #allListeners(place: Place): readonly MosquittoListener[] {
    if (this.#listeners.length === 0) return [this.#defaultListener(place)];
    if (this.#default === undefined) return this.#listeners;
    if (this.#defaultIsThere) return [this.#default, ...this.#listeners];
    for (const [what, { place: at }] of this.#default.options) {
      this.#findings.push({
        ...at,
        what,
        effect: 'left-out',
        reason: 'it is said of the default listener, which is not there because others are',
        instead: 'write it below the "listener" that it is meant for and import again',
      });
    }
    return this.#listeners;
  }
}

export function isOn(listener: MosquittoListener, option: ListenerOption): boolean {
  const named = listener.options.get(option);
  return named !== undefined && booleanOf({ ...named, name: option });
}

function booleanOf({ name, value, place }: Pick<Statement, 'name' | 'value' | 'place'>): boolean {
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw refused(place, `${name} is neither true nor false`, 'mosquitto does not start with it');
}

function portOf(text: string, place: Place): number {
  const port = Number(text);
  if (/^\d{1,5}$/u.test(text) && port <= 65_535) return port;
  throw refused(place, `"${printable(text)}" is no port`, 'mosquitto does not start with it');
}
