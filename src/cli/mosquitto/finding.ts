/** What an import could not carry over as it was, and where that is written. */
import { SallyportError } from '../../common/base/errors.ts';

export interface Place {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

export interface Finding extends Place {
  /** The option or the rule, never the value of an option: it may be a password. */
  readonly what: string;
  /** `left-out`: nothing of it was carried over. `narrower`: the new configuration allows less of it. */
  readonly effect: 'left-out' | 'narrower';
  /** Why, as a clause. */
  readonly reason: string;
  /** What to do in its place, as a clause. */
  readonly instead: string;
}

export function placeText({ file, line }: Place): string {
  return `${file}:${line}`;
}

/** What mosquitto itself would refuse, or what cannot be read without guessing. */
export function refused(place: Place, problem: string, hint: string): SallyportError {
  return new SallyportError('invalid-config', `${placeText(place)}: ${problem}`, { hint });
}
