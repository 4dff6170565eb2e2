/** A policy document made into closures: checked, compiled and frozen once, then only called. */
import { systemClock } from '../../common/base/clock.ts';
import { deepFreeze } from '../../common/base/deep-freeze.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import { AccessRules } from './access-rules.ts';
import { assertPolicyDocument } from './assert-document.ts';
import { BoundChecks } from './bound-checks.ts';
import { Breakers } from './breakers.ts';
import { Concurrency } from './concurrency.ts';
import { entries } from './entry.ts';
import type { Entry, Reach, StagedBound } from './entry.ts';
import { identityBuckets, RouteMatcher } from './matched-routes.ts';
import type { Policy } from './policy.ts';
import type { RateBucket, Subject } from './ports.ts';
import { ProxiedRoutes } from './proxied-routes.ts';
import type { CompiledProxied } from './proxied-routes.ts';
import type { Cell, Compiled, EntryTypes } from './row.ts';
import { rows, tableRows } from './table.ts';

export interface CompileOptions {
  /** Hand the same object to the next policy, or a reload closes every open breaker. */
  readonly breakers?: Breakers;
  /** The same, or a reload lets everybody begin anew. */
  readonly concurrency?: Concurrency;
}

const unlimited: readonly RateBucket[] = Object.freeze([]);

/** @throws SallyportError `invalid-config` when the document is incomplete or unsafe. */
export function compilePolicy(
  source: PolicyDocument,
  generation: number,
  { breakers = new Breakers(systemClock), concurrency = new Concurrency() }: CompileOptions = {},
): Policy {
  assertPolicyDocument(source);
  // A copy: whoever made the document must not be able to change what has been checked.
  const document = deepFreeze(structuredClone(source));
  const routes = new RouteMatcher(document);
  const proxied = new ProxiedRoutes(document);
  const compiled: Compiled = Object.freeze({
    document,
    access: new AccessRules(document.roles),
    breakers,
    concurrency,
  });
  const columns = compileColumns();
  const table = deepFreeze(tableRows());

  const bindTo = <E extends Entry>(
    entry: E,
    binding: EntryTypes[E]['binding'],
    rates: readonly RateBucket[],
  ): StagedBound<EntryTypes[E]['facts']> => {
    const { cells, rowNames, bodyRow } = columns[entry];
    return new BoundChecks(
      cells.map((cell) => cell.bind(binding)),
      rowNames,
      bodyRow,
      rates,
    );
  };
  const ratesOf = (subject: Subject | undefined): readonly RateBucket[] =>
    subject === undefined ? unlimited : identityBuckets(document)[subject.kind];

  /** The overloads of `Policy.bind` say which entry comes with which arguments. */
  function bind(entry: Entry, subject?: Subject, resource?: string | CompiledProxied): unknown {
    if (entry === 'proxied') {
      if (typeof resource !== 'object') throw new SallyportError('internal', 'no route');
      const taken = subject === undefined ? unlimited : resource.buckets[subject.kind];
      return bindTo(entry, { policy: compiled, subject, route: resource }, taken);
    }
    if (typeof resource === 'object') throw new SallyportError('internal', 'a route');
    switch (entry) {
      case 'accept':
        return bindTo(entry, { policy: compiled }, unlimited);
      case 'connect':
        return bindTo(entry, { policy: compiled, subject }, ratesOf(subject));
      case 'request':
        // Whatever else stands there reaches no further than the others.
        return bindTo(
          entry,
          { policy: compiled, subject, reach: reachOf(resource) },
          ratesOf(subject),
        );
      default:
    }
    // Only code that got around the types comes here without them; it must not be let through.
    if (subject === undefined || resource === undefined) {
      throw new SallyportError('internal', `${entry} needs a subject and a resource`);
    }
    switch (entry) {
      case 'publish':
      case 'will':
      case 'will-publish': {
        const matched = routes.match(resource);
        const binding = { policy: compiled, subject, topic: resource, routes: matched };
        const taken = entry === 'will-publish' ? unlimited : matched.buckets[subject.kind];
        return bindTo(entry, binding, taken);
      }
      case 'subscribe':
        return bindTo(entry, { policy: compiled, subject, filter: resource }, ratesOf(subject));
      case 'deliver':
        return bindTo(entry, { policy: compiled, subject, filter: resource }, unlimited);
    }
  }

  const policy: Policy = {
    document,
    generation,
    // `bind` answers each entry with the bound check of that entry's facts.
    bind: bind as Policy['bind'],
    permits: (entry, subject, resource) =>
      compiled.access[entry](subject.identity.role, subject.id, resource).allowed,
    proxied: (method, path, id) => {
      const route = proxied.find(path, id);
      return route?.methods.has(method) === true ? route : undefined;
    },
    integrity: (filter) => routes.integrityOf(filter),
    takes: (by, filter) => by === 'certificate' || routes.areOpenTo(by, filter),
    proxiedMethods: (path, id) => proxied.find(path, id)?.document.methods ?? [],
    permitsRequest: ({ identity: { role }, id }, method, path) => {
      const route = proxied.find(path, id);
      return (
        route?.methods.has(method) === true &&
        compiled.access.request(role, id, method, path, route.document).allowed
      );
    },
    table: () => table,
  };
  return Object.freeze(policy);
}

function reachOf(resource: string | undefined): Reach {
  return resource === 'time' ? 'time' : 'service';
}

interface Column<E extends Entry> {
  readonly cells: readonly Cell<EntryTypes[E]['binding'], EntryTypes[E]['facts']>[];
  readonly rowNames: readonly string[];
  /** The first that looks at the body. */
  readonly bodyRow: number;
}

type Columns = { readonly [E in Entry]: Column<E> };

function compileColumns(): Columns {
  const column = <E extends Entry>(entry: E): Column<E> => {
    const asked = rows.flatMap(({ name, looksAtBody, cells }) => {
      const cell = cells[entry];
      return cell === undefined ? [] : [{ name, looksAtBody, cell }];
    });
    const bodyRow = asked.findIndex(({ looksAtBody }) => looksAtBody === true);
    return {
      cells: asked.map(({ cell }) => cell),
      rowNames: asked.map(({ name }) => name),
      bodyRow: bodyRow < 0 ? asked.length : bodyRow,
    };
  };
  // One column per entry, by construction.
  return Object.fromEntries(entries.map((entry) => [entry, column(entry)])) as unknown as Columns;
}
