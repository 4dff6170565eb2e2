import type { Command } from 'commander';
import { errorCodeOf, SallyportError } from '../../common/base/errors.ts';
import type { DenyCode } from '../../common/base/errors.ts';
import { parsePrincipalName, printable } from '../../common/base/principal.ts';
import type { PrincipalName, Standing } from '../../common/base/principal.ts';
import type { Rule } from '../../worker/policy/access-rules.ts';
import type { ExplainedProxied, ExplainedRoute } from '../../worker/policy/explain.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { Gateway } from '../gateway.ts';
import { loadPolicy } from '../load-policy.ts';
import { print } from '../print.ts';
import { formatRates } from '../rates.ts';
import { formatFields } from '../table.ts';

const actions = ['publish', 'subscribe', 'request'] as const;
type Action = (typeof actions)[number];

interface TestOptions {
  readonly as: string;
  readonly role?: string;
  readonly config?: string;
}

interface Answer {
  readonly principal: string;
  readonly role: string;
  readonly action: Action;
  readonly resource: string;
  readonly allowed: boolean;
  /** With which code it is denied. */
  readonly code?: DenyCode;
  /** The rule that decided, in a sentence. */
  readonly because: string;
  /** Place of the rule in the configuration; not there when no rule decided. */
  readonly rule?: Rule;
  /** What else a message on this topic has to pass. */
  readonly routes: readonly ExplainedRoute[];
  /** Of a request: the path that is judged and sent on. */
  readonly path?: string;
  /** Of a request: the route that it belongs to. */
  readonly route?: ExplainedProxied;
}

export function addPolicyTest(group: Command, run: Run): void {
  group
    .command('test')
    .description('say whether a principal may do something, and which rule decides')
    .argument('<action>', 'publish, subscribe or request')
    .argument('<resource>', "topic, topic filter to subscribe to, or 'METHOD /path' of a request")
    .requiredOption('--as <principal>', 'device/ID, service/NAME or operator/NAME')
    .option('--role <role>', 'role to try; without it the one that the principal has')
    .option('--config <file>', 'judge by this configuration, without a gateway')
    .action((action: string, resource: string, options: TestOptions) =>
      run(async (context) => {
        const answer = await decide(context, actionOf(action), resource, options);
        print(context, answer, () => answerText(answer));
        return 0;
      }),
    );
}

function actionOf(text: string): Action {
  const action = actions.find((known) => known === text);
  if (action !== undefined) return action;
  throw new SallyportError('usage', `"${printable(text)}" is no action`, {
    hint: `actions: ${actions.join(', ')}`,
  });
}

async function decide(
  context: CommandContext,
  action: Action,
  resource: string,
  options: TestOptions,
): Promise<Answer> {
  const principal = parsePrincipalName(options.as);
  if (principal === undefined) {
    throw new SallyportError('usage', `"${printable(options.as)}" is no principal`, {
      hint: 'name one like device/d1, service/be or operator/ann',
    });
  }
  const { kind, id, name } = principal;
  const { document } = await loadPolicy(context, options.config);
  const known = options.config === undefined ? await recordOf(context, name) : undefined;
  const role = options.role ?? known?.role ?? defaultRole(name);
  const question = { principal: name, role, action, resource };
  if (known !== undefined && known.standing !== 'active') {
    const because = `the standing of ${name} is ${known.standing}, which is judged before any rule`;
    return { ...question, allowed: false, code: 'standing', because, routes: [] };
  }
  const { explain, explainRequest } = await import('../../worker/policy/explain.ts');
  if (action === 'request') {
    const [method, target] = requestOf(resource);
    const told = explainRequest({ document }, { kind, id, role }, method, target);
    return {
      ...question,
      allowed: told.allowed,
      ...(told.code === undefined ? {} : { code: told.code }),
      because: told.because,
      ...(told.rule === undefined ? {} : { rule: told.rule }),
      ...(told.path === undefined ? {} : { path: told.path }),
      ...(told.route === undefined ? {} : { route: told.route }),
      routes: [],
    };
  }
  const told = explain({ document }, { kind, id, role }, action, resource);
  return {
    ...question,
    allowed: told.allowed,
    ...(told.allowed ? {} : { code: 'forbidden' as const }),
    because: told.because,
    ...(told.rule === undefined ? {} : { rule: told.rule }),
    routes: told.routes,
  };
}

function requestOf(text: string): readonly [method: string, target: string] {
  const [, method, target] = /^([A-Z]+) (\S+)$/u.exec(text) ?? [];
  if (method !== undefined && target !== undefined) return [method, target];
  throw new SallyportError('usage', `"${printable(text)}" is no request`, {
    hint: "write a method and a path, like 'GET /backend/x'",
  });
}

/** Undefined for a principal that has not been enrolled: what it could do if it were is worth an answer too. */
async function recordOf(
  context: CommandContext,
  name: PrincipalName,
): Promise<{ readonly role: string; readonly standing: Standing } | undefined> {
  const parts = parsePrincipalName(name);
  if (parts === undefined) return undefined;
  try {
    return await new Gateway(context).principal(parts.kind, parts.id);
  } catch (error) {
    if (errorCodeOf(error) === 'unknown-principal') return undefined;
    throw error;
  }
}

function defaultRole(name: PrincipalName): string {
  if (name.startsWith('device/')) return 'device';
  throw new SallyportError('usage', `the role of ${name} is not known here`, {
    hint: 'name one with --role, or ask a gateway where it is enrolled',
  });
}

function answerText({ allowed, code, because, role, routes, path, route }: Answer): string {
  return formatFields([
    ['answer', allowed ? 'allow' : `deny (${code ?? 'forbidden'})`],
    ['because', because],
    ['role', role],
    ...routes.map((each) => [`route ${each.name}`, routeText(each)] as const),
    ...(path === undefined ? [] : [['path', path] as const]),
    ...(route === undefined ? [] : [[`route ${route.name}`, proxiedText(route)] as const]),
  ]);
}

function routeText({ rate, payloadBytes, schema }: ExplainedRoute): string {
  const payload = schema ? 'payload checked against its schema' : 'any payload';
  return `${formatRates(rate)}, ${payload}, at most ${payloadBytes} bytes`;
}

function proxiedText(route: ExplainedProxied): string {
  const { path, authenticate, signed, rate, bodyBytes, schema } = route;
  const body = `${schema ? 'body checked against its schema' : 'any body'}, at most ${bodyBytes} bytes`;
  const proof = `by ${authenticate.join(' or ')}${signed ? ', signed' : ''}`;
  return `${path}: ${proof}; ${formatRates(rate)}, ${body}`;
}
