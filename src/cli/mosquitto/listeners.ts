/** Which of mosquitto's listeners the new configuration continues: those with TLS, and one set of rules. */
import { SallyportError } from '../../common/base/errors.ts';
import { textProblem } from '../../common/config/units.ts';
import type { Finding } from './finding.ts';
import { isOn } from './settings.ts';
import type { MosquittoListener, Named, Settings } from './settings.ts';

interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Continued {
  /** For `listeners`. Undefined: no listener of mosquitto had TLS, so the defaults are taken. */
  readonly mqtts: Address | false | undefined;
  readonly https: Address | false;
  /** Whose clients the rules are for. */
  readonly origins: readonly MosquittoListener[];
  readonly aclFile: Named | undefined;
  readonly minVersion: '1.3' | undefined;
  readonly findings: readonly Finding[];
}

/**
 * @param only the port of the one listener that is meant, where their rules differ.
 * @throws SallyportError `usage` when there is no such port, or none is named and the rules differ.
 */
export function continueListeners(settings: Settings, only: number | undefined): Continued {
  const findings: Finding[] = [];
  const meant = settings.listeners.filter(({ port }) => only === undefined || port === only);
  if (meant.length === 0) {
    throw new SallyportError('usage', `mosquitto has no listener on port ${only ?? ''}`, {
      hint: `its ports are ${settings.listeners.map(({ port }) => port).join(', ')}`,
    });
  }
  const secure = meant.filter((listener) => listener.options.has('certfile'));
  const origins = secure.length === 0 ? meant : secure;
  const mqtt = secure.filter((listener) => protocolOf(listener) === 'mqtt');
  const web = secure.filter((listener) => protocolOf(listener) === 'websockets');
  for (const listener of settings.listeners) {
    const finding = leftOut(listener, { secure, kept: [mqtt[0], web[0]], meant });
    if (finding !== undefined) findings.push(finding);
  }
  for (const listener of [mqtt[0], web[0]]) {
    if (listener !== undefined) findings.push(...differences(listener));
  }
  const aclFile = settings.perListener ? commonAcl(origins) : settings.aclFile;
  if (settings.perListener) findings.push(...otherAcls(settings.listeners, aclFile));
  const versions = secure.map(({ options }) => options.get('tls_version')?.value);
  return {
    mqtts: secure.length === 0 ? undefined : addressOf(mqtt[0]),
    https: addressOf(web[0]),
    origins,
    aclFile,
    minVersion:
      versions.length > 0 && versions.every((version) => version === 'tlsv1.3') ? '1.3' : undefined,
    findings,
  };
}

function protocolOf({ options }: MosquittoListener): string {
  return options.get('protocol')?.value ?? 'mqtt';
}

function addressOf(listener: MosquittoListener | undefined): Address | false {
  if (listener === undefined) return false;
  const { host = '0.0.0.0', port } = listener;
  return { host: textProblem('host', host) === undefined ? host : '127.0.0.1', port };
}

function leftOut(
  listener: MosquittoListener,
  those: {
    readonly secure: readonly MosquittoListener[];
    readonly kept: readonly (MosquittoListener | undefined)[];
    readonly meant: readonly MosquittoListener[];
  },
): Finding | undefined {
  const { place, port } = listener;
  if (those.kept.includes(listener)) return undefined;
  const finding = { ...place, what: `listener ${port}`, effect: 'left-out' as const };
  if (!those.meant.includes(listener)) {
    return { ...finding, reason: 'another one was asked for', instead: 'import it by itself' };
  }
  if (!those.secure.includes(listener)) {
    return {
      ...finding,
      reason:
        'it has no certificate: plain text is never spoken, and pre-shared keys are not accepted',
      instead: 'let its clients connect to listeners.mqtts over TLS with certificates of their own',
    };
  }
  const protocol = protocolOf(listener);
  return protocol === 'mqtt' || protocol === 'websockets'
    ? {
        ...finding,
        reason: 'there is one listener of its kind',
        instead: 'let its clients connect to the one that was carried over',
      }
    : {
        ...finding,
        reason: 'what it speaks is not known here',
        instead: 'see listeners in docs/configuration.md',
      };
}

/** What a client of a listener that is carried over will meet that it did not before. */
function differences(listener: MosquittoListener): Finding[] {
  const { place, port, host, options } = listener;
  const found: Finding[] = [];
  const add = (what: string, at: typeof place, reason: string, instead: string): void => {
    found.push({ ...at, what, effect: 'narrower', reason, instead });
  };
  if (!isOn(listener, 'require_certificate')) {
    const at = options.get('require_certificate')?.place ?? place;
    add(
      `listener ${port} without require_certificate`,
      at,
      'a client certificate is always required',
      'enrol every client: device enroll, service create',
    );
  }
  if (protocolOf(listener) === 'websockets') {
    add(
      `listener ${port} of websockets`,
      place,
      'MQTT over WebSocket is at /mqtt of the https listener, and needs a client certificate',
      'change the path in the clients',
    );
  }
  if (host !== undefined && textProblem('host', host) !== undefined) {
    add(`listener ${port}`, place, 'its address is not known here', 'set listeners.mqtts.host');
  }
  const version = options.get('tls_version');
  if (version !== undefined && !['tlsv1.2', 'tlsv1.3'].includes(version.value)) {
    add('tls_version', version.place, 'TLS 1.2 is the oldest that is spoken', 'renew the devices');
  }
  return found;
}

function commonAcl(listeners: readonly MosquittoListener[]): Named | undefined {
  const files = new Map(
    listeners.map(({ options }) => {
      const named = options.get('acl_file');
      return [named?.value, named] as const;
    }),
  );
  if (files.size > 1) {
    const ports = listeners.map(({ port }) => port).join(', ');
    throw new SallyportError('usage', `the listeners ${ports} have different ACL files`, {
      hint: 'there is one policy for all listeners: name one with --listener PORT',
    });
  }
  return [...files.values()][0];
}

function otherAcls(
  listeners: readonly MosquittoListener[],
  taken: Named | undefined,
): readonly Finding[] {
  return listeners.flatMap(({ port, options }) => {
    const named = options.get('acl_file');
    if (named === undefined || named.value === taken?.value) return [];
    return [
      {
        ...named.place,
        what: `acl_file of listener ${port}`,
        effect: 'left-out' as const,
        reason: 'there is one policy for all listeners',
        instead: `name it with --listener ${port}`,
      },
    ];
  });
}
