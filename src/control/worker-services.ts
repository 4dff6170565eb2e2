/** What operators have the workers do: commands to devices, and a look at what waits for backends. */
import { hash } from 'node:crypto';
import { SallyportError } from '../common/base/errors.ts';
import { parsePrincipalName, principalParts } from '../common/base/principal.ts';
import type { PrincipalName } from '../common/base/principal.ts';
import { splitLevels, topicProblem } from '../common/base/topic-filter.ts';
import type { LimitsDocument } from '../common/config/policy-document.ts';
import type { DeadLetter } from '../common/ipc/messages.ts';
import type {
  Actor,
  CommandToSend,
  DeadLetterPage,
  DeadLetterSelection,
  SpoolView,
} from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { Configuration } from './configuration.ts';
import { localOperator } from './registry/local-operator.ts';
import type { Registry } from './registry/registry.ts';
import {
  commandId,
  deadLettersOf,
  messageCount,
  spoolPattern,
  spoolStates,
} from './worker-answers.ts';
import type { WorkerAsks } from './worker-asks.ts';
import type { WorkerTable } from './worker-table.ts';

export interface WorkerServiceParts {
  readonly asks: Pick<WorkerAsks, 'ask'>;
  readonly registry: Pick<Registry, 'get'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly workers: Pick<WorkerTable, 'spool'>;
  readonly configuration: Pick<Configuration, 'current'>;
}

export class WorkerServices {
  readonly #parts: WorkerServiceParts;

  constructor(parts: WorkerServiceParts) {
    this.#parts = parts;
  }

  async sendCommand(
    actor: Actor,
    device: PrincipalName,
    command: CommandToSend,
  ): Promise<{ readonly id: string }> {
    const { asks, auditLog, configuration } = this.#parts;
    const { name, payload, contentType } = command;
    this.#assertCommandable(device);
    const { id } = principalParts(device);
    assertCommandName(id, name, configuration.current.limits);
    const { payloadBytes } = configuration.current.limits;
    if (payload.length > payloadBytes) {
      throw new SallyportError('too-large', `the payload has more than ${payloadBytes} bytes`, {
        hint: 'limits.payloadBytes of the configuration says how many it may have',
      });
    }
    const from = publisherOf(actor);
    // First on record, without the payload: it may hold a secret of the device's.
    const detail = { name, bytes: payload.length, sha256: hash('sha256', payload, 'hex') };
    auditLog.append({ actor, action: 'command.send', target: device, detail });
    const answer = await asks.ask({
      what: 'send-command',
      device: id,
      name,
      payload: payload.toString('base64'),
      contentType,
      from,
    });
    return { id: commandId(answer) };
  }

  /** Those of the configuration, and those that it no longer has while something is in them. */
  async spools(): Promise<readonly SpoolView[]> {
    const { asks, configuration, workers } = this.#parts;
    const states = spoolStates(await asks.ask({ what: 'spools' }));
    const { backends } = configuration.current;
    return states.map((state) => {
      const [route = '', backend = ''] = state.spool.split('/');
      const configured = backends.find(({ spool }) => spool === state.spool);
      const origin = configured === undefined ? undefined : new URL(configured.url).origin;
      return { route, backend, origin, ...state, ...workers.spool(state.spool) };
    });
  }

  async deadLetters(route: string, page: DeadLetterPage): Promise<readonly DeadLetter[]> {
    const spool = this.#spoolOf(route, page.backend);
    const { after, limit } = page;
    const answer = await this.#parts.asks.ask({ what: 'dead-letters', spool, after, limit });
    return deadLettersOf(answer, limit);
  }

  async settleDeadLetters(
    actor: Actor,
    action: 'retry' | 'discard',
    route: string,
    { backend, ids }: DeadLetterSelection,
  ): Promise<{ readonly messages: number }> {
    const { asks, auditLog } = this.#parts;
    const spool = this.#spoolOf(route, backend);
    auditLog.append({
      actor,
      action: `dead-letters.${action}`,
      target: `spool/${spool}`,
      detail: ids === undefined ? { all: true } : { count: ids.length, first: ids[0] },
    });
    const answer = await asks.ask({ what: `${action}-dead-letters`, spool, ids });
    return { messages: messageCount(answer) };
  }

  #assertCommandable(device: PrincipalName): void {
    const identity = this.#parts.registry.get(device);
    if (identity === undefined) {
      throw new SallyportError('unknown-principal', `${device} is not known`, {
        hint: 'see: sallyport device list',
      });
    }
    if (identity.standing !== 'revoked') return;
    throw new SallyportError('wrong-standing', `${device} is revoked and never asks again`, {
      hint: `first let it enrol again: sallyport device reinstate ${principalParts(device).id}`,
    });
  }

  /** The backend may be left out where there is but one. A backend that is named may be one of the past. */
  #spoolOf(route: string, backend: string | undefined): string {
    const { backends } = this.#parts.configuration.current;
    const own = backends.filter((known) => known.route === route);
    const names = own.map(({ spool }) => spool.slice(route.length + 1));
    const name = backend ?? (names.length === 1 ? names[0] : undefined);
    if (name !== undefined && spoolPattern.test(`${route}/${name}`)) return `${route}/${name}`;
    if (name === undefined && names.length > 1) {
      throw new SallyportError('usage', `the route ${route} has several backends`, {
        hint: `name one of: ${names.join(', ')}`,
      });
    }
    const known = [...new Set(backends.map((each) => each.route))].join(', ');
    throw new SallyportError('not-found', 'there is no route of this name with a backend', {
      hint: known === '' ? 'no route of the configuration has one' : `routes with one: ${known}`,
    });
  }
}

/** Its topic must be one that is published to, and bounded as a device's own would be. */
function assertCommandName(device: string, name: string, limits: LimitsDocument): void {
  const topic = `devices/${device}/commands/${name}`;
  const levels = splitLevels(topic);
  const problem =
    topicProblem(topic) ??
    (levels.includes('') ? 'a level of it is empty' : undefined) ??
    (/\p{Cc}/u.test(name) ? 'it contains a control character' : undefined) ??
    (levels.length > limits.topicLevels
      ? `its topic has over ${limits.topicLevels} levels`
      : undefined) ??
    (Buffer.byteLength(topic) > limits.topicBytes
      ? `its topic is longer than ${limits.topicBytes} bytes`
      : undefined);
  if (problem === undefined) return;
  throw new SallyportError('usage', `that is no name of a command: ${problem}`, {
    hint: 'use topic levels such as "reboot" or "config/set"',
  });
}

/** The device sees who commanded it. Only callers that are operators get here. */
function publisherOf(actor: Actor): PrincipalName {
  if (actor.startsWith('local:')) return localOperator;
  const name = parsePrincipalName(actor);
  if (name?.kind === 'operator') return name.name;
  throw new SallyportError('forbidden', 'commands are sent by operators');
}
