/**
 * Standing is read from the live record at every decision: a suspension acts on the next packet, not on the next
 * connection. A quarantined device and one below its firmware floor have nothing to do over MQTT: what they may reach
 * is firmware and time, over HTTPS.
 */
import { standings } from '../../../common/base/principal.ts';
import type { Standing } from '../../../common/base/principal.ts';
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { Subject } from '../ports.ts';
import type { Cell, Check, Row } from '../row.ts';

const name = 'standing';

const denials: ReadonlyMap<Standing, Deny> = new Map(
  standings
    .filter((standing) => standing !== 'active')
    .map((standing) => [standing, deny('standing', name, `the principal is ${standing}`)]),
);
/** A standing that this version does not know is not a good one. */
const unknown = deny('standing', name, 'the standing of the principal is not known');

/** Whose way back is not closed. */
const reachingTime: ReadonlySet<Standing> = new Set(['active', 'quarantined', 'firmware-floor']);

function check(subject: Subject): Check<unknown> {
  const { identity } = subject;
  return () => (identity.standing === 'active' ? undefined : denialOf(identity.standing));
}

function denialOf(standing: Standing): Deny {
  return denials.get(standing) ?? unknown;
}

const cell: Cell<{ readonly subject: Subject | undefined }, unknown> = {
  says: 'active',
  bind: ({ subject }) => (subject === undefined ? undefined : check(subject)),
};

export const standingRow: Row = {
  name,
  codes: ['standing'],
  cells: {
    connect: cell,
    will: cell,
    'will-publish': cell,
    publish: cell,
    subscribe: cell,
    deliver: cell,
    proxied: cell,
    request: {
      says: 'active; for the time also quarantined, firmware-floor',
      bind: ({ subject, reach }) => {
        if (subject === undefined) return undefined;
        if (reach !== 'time') return check(subject);
        const { identity } = subject;
        return () =>
          reachingTime.has(identity.standing) ? undefined : denialOf(identity.standing);
      },
    },
  },
};
