/** What operators can do with the CA: look at it, take its root key away, show its pins, rotate its keys. */
import { createPublicKey } from 'node:crypto';
import type { Clock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { Logger } from '../common/base/logger.ts';
import type {
  Actor,
  CaRole,
  CaView,
  PinView,
  RotationOrder,
  RotationResult,
} from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { pinOf } from './ca/pins.ts';
import type { ShownPins } from './ca/pins.ts';
import { dayMs } from './ca/profiles.ts';
import type { Configuration } from './configuration.ts';
import type { Registry } from './registry/registry.ts';

export interface CaServiceParts {
  readonly authority: CertificateAuthority;
  readonly registry: Pick<Registry, 'lastExpiries'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly configuration: Pick<Configuration, 'rotate' | 'trustChanged'>;
  readonly shownPins: ShownPins;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
}

/** A CA that ends sooner cuts short what it issues for a year. */
const rotateBeforeMs = 365 * dayMs;

/** Whose keys become others: a new root brings an issuing CA of its own. */
const keysThatChange: Readonly<Record<CaRole, readonly CaRole[]>> = {
  root: ['root', 'issuing'],
  issuing: ['issuing'],
  server: ['server'],
};

export class CaServices {
  readonly #parts: CaServiceParts;
  #rotating: Promise<unknown> = Promise.resolve();

  constructor(parts: CaServiceParts) {
    this.#parts = parts;
  }

  show(): CaView {
    return this.#parts.authority.summary();
  }

  async exportRoot(
    actor: Actor,
  ): Promise<{ readonly privateKey: string; readonly certificate: string }> {
    const exported = await this.#parts.authority.exportRoot();
    this.#audit(actor, 'export-root', 'ca/root', {});
    return exported;
  }

  async confirmRootExported(actor: Actor): Promise<void> {
    this.#audit(actor, 'discard-root-key', 'ca/root', {});
    await this.#parts.authority.discardRootKey();
  }

  /** On record as shown when it resolves: from then on a rotation takes them for built into firmware. */
  async pins(actor: Actor, roles: readonly CaRole[]): Promise<readonly PinView[]> {
    const { authority, shownPins } = this.#parts;
    const views: PinView[] = [];
    for (const role of roles) {
      const keys = await authority.keysOf(role);
      shownPins.record(role, { current: pinOf(keys.current), next: pinOf(keys.next) });
      views.push(viewOf(role, 'current', keys.current), viewOf(role, 'next', keys.next));
    }
    this.#audit(actor, 'show-pins', 'ca', { roles: [...roles] });
    return views;
  }

  /**
   * One after the other: an order that was given twice has to pass what the first has left.
   *
   * @throws SallyportError `usage` when devices would be cut off and the order does not say that they may be; as
   *   `CertificateAuthority.rotate`. Nothing has changed then.
   */
  async rotate(actor: Actor, order: RotationOrder): Promise<RotationResult> {
    const result = this.#rotating.then(() => this.#rotate(actor, order));
    this.#rotating = result.catch(() => {});
    return result;
  }

  /** Looks after what becomes old by itself. Never rejects: it is tried again. */
  async tend(): Promise<void> {
    const { authority, registry, configuration, logger } = this.#parts;
    this.#warnOfEnds();
    try {
      await authority.prepareNext();
      const lastExpiries = registry.lastExpiries();
      const retired = await authority.retire((issuer) => lastExpiries.get(issuer));
      if (retired.length === 0) return;
      this.#audit('system', 'retire', 'ca/issuing', { issuers: [...retired] });
      logger.info({ issuers: retired }, 'issuing CAs retired: nothing under them is valid');
      configuration.trustChanged();
    } catch (error) {
      logger.error({ err: messageOf(error) }, 'the CA was not looked after');
    }
  }

  async #rotate(actor: Actor, order: RotationOrder): Promise<RotationResult> {
    const { authority, configuration } = this.#parts;
    const { role, force, rootKeys } = order;
    const warnings = await this.#warnings(role, force);
    const before = authority.summary()[role].sha256;
    const { next } = await authority.keysOf(role);
    this.#audit(actor, 'rotate', `ca/${role}`, { before, pin: pinOf(next), force });
    const { acknowledged, killed } = await configuration.rotate(
      role === 'server' ? undefined : (announce) => authority.rotate(role, rootKeys, announce),
      role === 'server' ? 'next' : undefined,
    );
    const after = authority.summary();
    this.#parts.logger.info({ role, before, after: after[role].sha256 }, 'key rotated');
    if (role === 'root' && after.rootKeyHere) {
      warnings.push(
        'the key of the new root is on this machine: "ca export-root FILE" takes it away',
      );
    }
    return { role, current: after[role], warnings, acknowledged, killed };
  }

  #warnOfEnds(): void {
    const { authority, clock, logger } = this.#parts;
    const { issuing, root } = authority.ends;
    const isLate = (endsMs: number): boolean => endsMs - clock.now() < rotateBeforeMs;
    if (isLate(root)) {
      logger.warn(
        { until: day(root) },
        'the root comes to its end; run: sallyport ca rotate --root',
      );
    } else if (isLate(issuing)) {
      logger.warn(
        { until: day(issuing) },
        'the issuing CA comes to its end; run: sallyport ca rotate',
      );
    }
  }

  async #warnings(role: CaRole, force: boolean): Promise<string[]> {
    const { authority, shownPins } = this.#parts;
    const warnings: string[] = [];
    for (const changing of keysThatChange[role]) {
      const keys = await authority.keysOf(changing);
      const { cutOff, lastChange } = shownPins.before(changing, {
        current: pinOf(keys.current),
        next: pinOf(keys.next),
      });
      if (cutOff !== undefined) {
        const who = `firmware with pins of the ${changing} key that were shown until ${day(cutOff)} does not know the next one`;
        if (!force) {
          throw new SallyportError('usage', `${who}: it would be cut off`, {
            hint: 'run "sallyport ca pins", bring both pins to the devices, then rotate; or add --force and lose those that have only the old one',
          });
        }
        warnings.push(`${who}: it is cut off`);
      }
      if (lastChange !== undefined) {
        warnings.push(
          `firmware with pins of the ${changing} key that were shown until ${day(lastChange)} knows no key after this one: run "sallyport ca pins" and bring the new pins to the devices before the next rotation`,
        );
      }
    }
    const stillBelow = authority.summary().older.length;
    if (role === 'root' && authority.rootPems.length > 1 && stillBelow > 0) {
      const who = 'certificates under the root before the present one are still valid';
      if (!force) {
        throw new SallyportError(
          'usage',
          `${who}: devices that trust only that one would be cut off`,
          {
            hint: 'wait until their devices have renewed and know the present root; or add --force',
          },
        );
      }
      warnings.push(`${who}: devices that trust only that one are cut off`);
    }
    return warnings;
  }

  #audit(
    actor: Actor,
    action: string,
    target: string,
    detail: Parameters<AuditLog['append']>[0]['detail'] & {},
  ): void {
    this.#parts.auditLog.append({ actor, action, target, detail });
  }
}

function viewOf(role: CaRole, which: 'current' | 'next', spki: Buffer): PinView {
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  const publicKey = key.export({ type: 'spki', format: 'pem' });
  return { role, which, sha256: pinOf(spki), publicKey };
}

function day(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}
