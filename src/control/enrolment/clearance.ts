/**
 * What has to be shown before a certificate is signed. Evidence comes only of running its check; a clearance comes only
 * of the evidence of every check on the same application. A check that is left out is an error of types, and one that
 * is smuggled past them is found at run time.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { Application } from './application.ts';
import { csrChecks, expectationFor } from './check-csr.ts';
import type { CsrCheckName } from './check-csr.ts';
import { checkIdentity } from './check-identity.ts';
import { checkRight } from './check-right.ts';
import type { IssuanceWorld } from './issuance-world.ts';

export type CheckName = 'right' | CsrCheckName | 'identity';

/** One for each check. */
export type Evidence = { readonly [Name in CheckName]: Passed<Name> };

/** That one check has passed for one application. */
export class Passed<Name extends CheckName> {
  readonly #check: Name;
  readonly #application: Application;

  private constructor(check: Name, application: Application) {
    this.#check = check;
    this.#application = application;
  }

  /** Runs the check. @throws SallyportError what the check does. */
  static byChecking<Name extends CheckName>(
    check: Name,
    application: Application,
    world: IssuanceWorld,
  ): Passed<Name> {
    run(check, application, world);
    return new Passed(check, application);
  }

  static isFor(value: unknown, check: CheckName, application: Application): boolean {
    return (
      typeof value === 'object' &&
      value !== null &&
      #check in value &&
      value.#check === check &&
      value.#application === application
    );
  }
}

/** That an application may be signed. */
export class Clearance {
  readonly #application: Application;

  private constructor(application: Application) {
    this.#application = application;
  }

  get application(): Application {
    return this.#application;
  }

  /** @throws SallyportError `internal` when a check is missing, or was made for another application. */
  static of(application: Application, evidence: Evidence): Clearance {
    for (const check of checkNames) {
      if (Object.hasOwn(evidence, check) && Passed.isFor(evidence[check], check, application)) {
        continue;
      }
      throw new SallyportError('internal', `nothing is signed without the check "${check}"`);
    }
    return new Clearance(application);
  }
}

/**
 * Every check, in this order: the right first, so that whoever has none costs nothing more; the registry last, because
 * nothing is believed of a request before the proof that it comes from the key's owner.
 *
 * @throws SallyportError of the first check that does not pass.
 */
export function clear(application: Application, world: IssuanceWorld): Clearance {
  const pass = <Name extends CheckName>(check: Name): Passed<Name> =>
    Passed.byChecking(check, application, world);
  return Clearance.of(application, {
    right: pass('right'),
    'signature-algorithm': pass('signature-algorithm'),
    'key-strength': pass('key-strength'),
    'proof-of-possession': pass('proof-of-possession'),
    subject: pass('subject'),
    attributes: pass('attributes'),
    extensions: pass('extensions'),
    identity: pass('identity'),
  });
}

/** In the order of `clear`. */
export const checkNames: readonly CheckName[] = Object.freeze([
  'right',
  ...(Object.keys(csrChecks) as CsrCheckName[]), // a frozen table: its keys are its names
  'identity',
]);

function run(check: CheckName, application: Application, world: IssuanceWorld): void {
  switch (check) {
    case 'right':
      return checkRight(application, world);
    case 'identity':
      return checkIdentity(application, world);
    default:
      return csrChecks[check](
        application.request,
        expectationFor(application.name, world.trustDomain, world.keys?.()),
      );
  }
}
