/** Runs the cells of one column, bound to one resource, in row order. */
import { messageOf } from '../../common/base/errors.ts';
import { allow, deny } from './decision.ts';
import type { Decision, Deny } from './decision.ts';
import type { StagedBound } from './entry.ts';
import type { RateBucket } from './ports.ts';
import type { Check } from './row.ts';

export class BoundChecks<M> implements StagedBound<M> {
  /** `checks[i]` belongs to `rowNames[i]`, which every binding of the column shares. */
  readonly #checks: readonly (Check<M> | undefined)[];
  readonly #rowNames: readonly string[];
  /** The first that looks at the body. */
  readonly #bodyRow: number;
  readonly rates: readonly RateBucket[];

  constructor(
    checks: readonly (Check<M> | undefined)[],
    rowNames: readonly string[],
    bodyRow: number,
    rates: readonly RateBucket[],
  ) {
    this.#checks = checks;
    this.#rowNames = rowNames;
    this.#bodyRow = bodyRow;
    this.rates = rates;
  }

  decide(message: M): Decision | Promise<Decision> {
    return this.#from(0, this.#checks.length, message);
  }

  decideHead(message: M): Decision | Promise<Decision> {
    return this.#from(0, this.#bodyRow, message);
  }

  decideBody(message: M): Decision | Promise<Decision> {
    return this.#from(this.#bodyRow, this.#checks.length, message);
  }

  #from(start: number, end: number, message: M): Decision | Promise<Decision> {
    const checks = this.#checks;
    let i = start;
    try {
      for (; i < end; i += 1) {
        const check = checks[i];
        if (check === undefined) continue;
        const verdict = check(message);
        if (verdict === undefined) continue;
        return 'allowed' in verdict ? verdict : this.#later(verdict, i, end, message);
      }
      return allow;
    } catch (thrown) {
      return this.#failed(i, thrown);
    }
  }

  async #later(
    verdict: Promise<Deny | undefined>,
    i: number,
    end: number,
    message: M,
  ): Promise<Decision> {
    try {
      return (await verdict) ?? (await this.#from(i + 1, end, message));
    } catch (thrown) {
      return this.#failed(i, thrown);
    }
  }

  /** A check that fails is a refusal: it must end this client's message, not the process, and never let it pass. */
  #failed(i: number, thrown: unknown): Deny {
    return deny(
      'busy',
      this.#rowNames[i] ?? 'policy',
      `the check itself failed: ${messageOf(thrown)}`,
    );
  }
}
