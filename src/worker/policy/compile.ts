/** A policy document made into closures: checked, compiled and frozen once, then only called. */
import { systemClock } from '../../common/base/clock.ts';
import { deepFreeze } from '../../common/base/deep-freeze.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import { AccessRules } from './access-rules.ts';
import { assertPolicyDocument } from './assert-document.ts';
import { BoundChecks } from './bound-checks.ts';
import { Breakers } from './breakers.ts';
import { entries } from './entry.ts';
import type { Bound, Entry } from './entry.ts';
import { RouteMatcher } from './matched-routes.ts';
import type { Policy } from './policy.ts';
import type { Subject } from './ports.ts';
import type { Cell, Compiled, EntryTypes } from './row.ts';
import { rows, tableRows } from './table.ts';

export interface CompileOptions {
  /** Hand the same object to the next policy, or a reload closes every open breaker. */
  readonly breakers?: Breakers;
}

/** @throws SallyportError `invalid-config` when the document is incomplete or unsafe. */
export function compilePolicy(
  source: PolicyDocument,
  generation: number,
  { breakers = new Breakers(systemClock) }: CompileOptions = {},
): Policy {
  assertPolicyDocument(source);
  // A copy: whoever made the document must not be able to change what has been checked.
  const document = deepFreeze(structuredClone(source));
  const routes = new RouteMatcher(document);
  const compiled: Compiled = Object.freeze({
    document,
    access: new AccessRules(document.roles),
    breakers,
  });
  const columns = compileColumns();
  const table = deepFreeze(tableRows());

  const bindTo = <E extends Entry>(
    entry: E,
    binding: EntryTypes[E]['binding'],
  ): Bound<EntryTypes[E]['facts']> => {
    const column = columns[entry];
    return new BoundChecks(
      column.cells.map((cell) => cell.bind(binding)),
      column.rowNames,
    );
  };

  /** The overloads of `Policy.bind` say which entry comes with which arguments. */
  function bind(entry: Entry, subject?: Subject, resource?: string): unknown {
    switch (entry) {
      case 'accept':
        return bindTo(entry, { policy: compiled });
      case 'connect':
        return bindTo(entry, { policy: compiled, subject });
      default:
    }
    // Only code that got around the types comes here without them; it must not be let through.
    if (subject === undefined || resource === undefined) {
      throw new SallyportError('internal', `${entry} needs a subject and a resource`);
    }
    switch (entry) {
      case 'publish':
      case 'will':
      case 'will-publish':
        return bindTo(entry, {
          policy: compiled,
          subject,
          topic: resource,
          routes: routes.match(resource),
        });
      case 'subscribe':
        return bindTo(entry, { policy: compiled, subject, filter: resource });
      case 'deliver':
        return bindTo(entry, { policy: compiled, subject, topic: resource });
    }
  }

  const policy: Policy = {
    document,
    generation,
    // `bind` answers each entry with the bound check of that entry's facts.
    bind: bind as Policy['bind'],
    permits: (entry, subject, resource) =>
      compiled.access[entry](subject.identity.role, subject.id, resource).allowed,
    table: () => table,
  };
  return Object.freeze(policy);
}

interface Column<E extends Entry> {
  readonly cells: readonly Cell<EntryTypes[E]['binding'], EntryTypes[E]['facts']>[];
  readonly rowNames: readonly string[];
}

type Columns = { readonly [E in Entry]: Column<E> };

function compileColumns(): Columns {
  const column = <E extends Entry>(entry: E): Column<E> => {
    const asked = rows.flatMap(({ name, cells }) => {
      const cell = cells[entry];
      return cell === undefined ? [] : [{ name, cell }];
    });
    return { cells: asked.map(({ cell }) => cell), rowNames: asked.map(({ name }) => name) };
  };
  // One column per entry, by construction.
  return Object.fromEntries(entries.map((entry) => [entry, column(entry)])) as unknown as Columns;
}
