/**
 * The standing of an identity as a state machine: which command leads from where to where. A pair that is not in the
 * table is refused.
 */
import { principalParts } from '../../common/base/principal.ts';
import type { PrincipalName, Standing, StandingAction } from '../../common/base/principal.ts';
import { SallyportError } from '../../common/base/errors.ts';

/** `firmware-floor` is derived from policy by whoever makes the snapshot and is never stored. */
export type StoredStanding = Exclude<Standing, 'firmware-floor'>;

export interface StandingState {
  readonly standing: StoredStanding;
  /** Where `resume` leads back to: suspending a quarantined device is no way out of quarantine. */
  readonly resumeTo: 'active' | 'quarantined';
}

type Transition = StoredStanding | 'what it was before';

const transitions: Readonly<
  Record<StoredStanding, Readonly<Partial<Record<StandingAction, Transition>>>>
> = {
  active: { suspend: 'suspended', quarantine: 'quarantined', revoke: 'revoked' },
  suspended: { resume: 'what it was before', quarantine: 'quarantined', revoke: 'revoked' },
  quarantined: { release: 'active', suspend: 'suspended', revoke: 'revoked' },
  revoked: { reinstate: 'active' },
};

/** The command that leads out of each standing, for hints. */
const wayOut: Readonly<Record<StoredStanding, StandingAction | undefined>> = {
  active: undefined,
  suspended: 'resume',
  quarantined: 'release',
  revoked: 'reinstate',
};

/** @throws SallyportError `wrong-standing` when `command` does not apply; the hint names the command that does. */
export function nextStanding(
  name: PrincipalName,
  state: StandingState,
  command: StandingAction,
): StandingState {
  const transition = transitions[state.standing][command];
  if (transition === undefined) {
    throw new SallyportError(
      'wrong-standing',
      `${name} is ${state.standing}: cannot ${command} it`,
      {
        hint: hintFor(name, state.standing),
      },
    );
  }
  return {
    standing: transition === 'what it was before' ? state.resumeTo : transition,
    resumeTo: command === 'suspend' && state.standing === 'quarantined' ? 'quarantined' : 'active',
  };
}

/** What leads out of this standing, as a sentence for an operator. */
export function hintFor(name: PrincipalName, standing: StoredStanding): string {
  const { kind, id } = principalParts(name);
  const command = wayOut[standing];
  return command === undefined
    ? `it is in normal service: suspend, quarantine and revoke apply`
    : `run: sallyport ${kind} ${command} ${id}`;
}
