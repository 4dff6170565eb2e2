/**
 * Records of principals whom an issuer names and the registry does not know. What lasts longer than a request holds on to
 * its record, so there is one for each principal and issuer as long as anybody does, and it changes as the snapshot's do.
 */
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { IdentityRecord } from '../../policy/ports.ts';
import type { Guest } from './verdict.ts';

interface Entry {
  readonly name: PrincipalName;
  readonly record: WeakRef<IdentityRecord>;
}

export class Guests {
  readonly #entries = new Map<string, Entry>();
  readonly #gone = new FinalizationRegistry<string>((key) => {
    // A new one may have taken the place of the one that nobody held any more.
    if (this.#entries.get(key)?.record.deref() === undefined) this.#entries.delete(key);
  });

  /** MUST be asked for only while the registry does not know the name. */
  record(name: PrincipalName, { issuer, role }: Guest): IdentityRecord {
    const key = `${issuer}\0${name}`;
    const known = this.#entries.get(key)?.record.deref();
    if (known !== undefined) {
      // It may have been what the registry said once, and the registry says nothing any more.
      known.standing = 'active';
      known.role = role;
      return known;
    }
    // No trust anchor is named so: a certificate never comes to be judged by it.
    const record: IdentityRecord = { standing: 'active', role, anchor: `token:${issuer}` };
    this.#entries.set(key, { name, record: new WeakRef(record) });
    this.#gone.register(record, key);
    return record;
  }

  /** Those whom the registry has come to know are what it says. */
  recognise(identity: (name: PrincipalName) => IdentityRecord | undefined): void {
    for (const { name, record: held } of this.#entries.values()) {
      const registered = identity(name);
      const record = held.deref();
      if (registered === undefined || record === undefined) continue;
      record.standing = registered.standing;
      record.role = registered.role;
    }
  }
}
