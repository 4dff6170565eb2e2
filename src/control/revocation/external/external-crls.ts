/**
 * The revocation lists of all trust anchors: fetched on time, put in force in the workers, and an alarm when one is not
 * what it should be. What a list revokes holds until a newer one says otherwise, also while it is out of date.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../../../common/base/errors.ts';
import type { Logger } from '../../../common/base/logger.ts';
import { serialBytes } from '../../../common/base/serial-set.ts';
import type { TrustAnchorConfig } from '../../../common/config/config.ts';
import type { RevokedList, SnapshotChange } from '../../../common/ipc/snapshot.ts';
import type { AuditLog } from '../../audit-log/audit-log.ts';
import { AnchorLists, mostNamed } from './anchor-lists.ts';
import type { AnchorListPorts, ListSource, WeighedList } from './anchor-lists.ts';
import type { CrlFiles } from './crl-files.ts';
import type { obtainCrl } from './obtain-crl.ts';

/** Between two looks at what is due; also how late the end of a list is noticed. */
const lookMs = 1_000;
/** After a list that could not be had, and the least when it is about to end. */
const retryMs = 30_000;
/** Named in one audit line. */
const namedInAudit = 20;

/** One anchor that has lists, for metrics. */
export interface AnchorListState {
  readonly anchor: string;
  readonly current: boolean;
  readonly revoked: number;
  /** When the first of its lists ends, milliseconds; undefined as long as there is none. */
  readonly nextUpdate: number | undefined;
  /** Since the start: lists that came and were not taken, and lists that did not come. */
  readonly refused: number;
  readonly failed: number;
}

/** `mostRevoked` of a gateway: every worker has them in memory, and a snapshot brings them at once, in 80 MB. */
export const mostRevokedByLists = 2_000_000;

export interface ExternalCrlPorts extends Pick<AnchorListPorts, 'records' | 'hasExpired'> {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: CrlFiles;
  readonly obtain: typeof obtainCrl;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly publish: (changes: readonly SnapshotChange[]) => Promise<unknown>;
  /** By all lists together; one that would be too much is refused. */
  readonly mostRevoked: number;
  /** Everything anew: at once, so that nothing overtakes it. */
  readonly publishSnapshot: () => void;
  /** Certificates are accepted from other authorities than before: see `trusted`. */
  readonly onTrust: (withdrawn: boolean) => void;
}

interface Fetching {
  readonly source: ListSource;
  /** By the monotonic clock. */
  dueAt: number;
  busy: boolean;
  /** Whether it has answered, or has had the time to. */
  tried: boolean;
  /** What was told last. */
  problem: string | undefined;
}

interface Anchor {
  readonly lists: AnchorLists;
  readonly fetching: readonly Fetching[];
  shortcomings: readonly string[];
  alarmed: boolean;
  /** What the workers have been told. */
  trusted: readonly string[];
  refused: number;
  failed: number;
  /** One list after the other. */
  turn: Promise<void>;
}

export class ExternalCrls {
  readonly #ports: ExternalCrlPorts;
  #anchors = new Map<string, Anchor>();
  #timer: NodeJS.Timeout | undefined;
  /** Before, nobody has been told anything. */
  #isLoaded = false;

  constructor(ports: ExternalCrlPorts) {
    this.#ports = ports;
  }

  /** The anchors of the configuration that has just come into force; every list is fetched again. */
  configure(configured: readonly TrustAnchorConfig[]): void {
    const before = this.#anchors;
    const anchors = new Map<string, Anchor>();
    for (const { crl, ...anchor } of configured) {
      if (crl === undefined) continue;
      try {
        anchors.set(anchor.name, this.#anchorOf(anchor, crl, before.get(anchor.name)));
      } catch (error) {
        const fields = { anchor: anchor.name, err: messageOf(error) };
        this.#ports.logger.error(fields, 'a trust anchor cannot be used, nor its lists');
      }
    }
    this.#anchors = anchors;
    for (const anchor of anchors.values()) this.#judge(anchor);
    // The operator's word: the reload is on record.
    const hasLess = [...before].some(([name, { lists }]) =>
      lists.hasMoreThan(anchors.get(name)?.lists),
    );
    if (hasLess) this.#ports.publishSnapshot();
  }

  /** The anchors at the start, with what was kept of their lists: from then on the rest is what workers may be told. */
  async load(configured: readonly TrustAnchorConfig[]): Promise<void> {
    const { files } = this.#ports;
    this.configure(configured);
    await files.keepOnly(
      this.#sources().map(([{ lists }, { source }]) => ({ anchor: lists.name, source: source.id })),
    );
    await Promise.all(
      this.#sources().map(async ([anchor, { source }]) => {
        const { lists } = anchor;
        const der = await files.read(lists.name, source.id, lists.config.maxBytes);
        if (der === undefined) return;
        try {
          const weighed = await lists.weigh(source, der, true);
          if (weighed === undefined) return;
          this.#assertRoom(lists, weighed);
          await lists.take(weighed, true);
        } catch (error) {
          this.#warn(anchor, source, error, 'the list that was kept is not used');
        }
      }),
    );
    for (const anchor of this.#anchors.values()) this.#judge(anchor);
    this.#isLoaded = true;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookMs);
    void this.look();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Fetches what is due and looks whether the lists are current. Never throws; resolves when what it began is done. */
  async look(): Promise<void> {
    const now = this.#ports.clock.monotonic();
    for (const anchor of this.#anchors.values()) this.#judge(anchor);
    await Promise.all(
      this.#sources()
        .filter(([, { busy, dueAt }]) => !busy && now >= dueAt)
        .map(([anchor, fetching]) => this.#fetch(anchor, fetching)),
    );
  }

  /** `<anchor>:<serial>` of every certificate that is revoked although it has vanished from its list. */
  revokedSerials(): string[] {
    return [...this.#anchors.values()].flatMap(({ lists }) =>
      [...lists.kept()].map((serial) => `${lists.name}:${serial}`),
    );
  }

  /** Whether the certificate is on a list of its anchor, or has been and has not been released. */
  isRevoked(anchor: string, serialHex: string): boolean {
    const lists = this.#anchors.get(anchor)?.lists;
    if (lists === undefined) return false;
    const serial = serialBytes(serialHex);
    return lists.tables().some((table) => table.has(serial)) || lists.isKept(serialHex);
  }

  /** What the lists revoke, for the snapshot. */
  revokedLists(): RevokedList[] {
    return [...this.#anchors.values()].flatMap(({ lists }) =>
      lists.tables().map((serials) => ({ anchor: lists.name, serials: serials.pack() })),
    );
  }

  /**
   * PEM of the authorities of an anchor from which certificates are accepted now. None when one of its lists is missing
   * or out of date and the configuration does not say that this is to be put up with. Undefined = all of them.
   */
  trusted({ crl, name }: TrustAnchorConfig): readonly string[] | undefined {
    if (crl === undefined) return undefined;
    const anchor = this.#anchors.get(name);
    if (anchor !== undefined) return anchor.trusted;
    return crl.whenStale === 'warn' ? undefined : [];
  }

  states(): AnchorListState[] {
    return [...this.#anchors.values()].map(({ lists, shortcomings, refused, failed }) => ({
      anchor: lists.name,
      current: shortcomings.length === 0,
      revoked: lists.size,
      nextUpdate: lists.nextUpdate,
      refused,
      failed,
    }));
  }

  #sources(): [Anchor, Fetching][] {
    return [...this.#anchors.values()].flatMap((anchor) =>
      anchor.fetching.map((each): [Anchor, Fetching] => [anchor, each]),
    );
  }

  #anchorOf(
    configured: Pick<TrustAnchorConfig, 'name' | 'pem'>,
    config: AnchorLists['config'],
    before: Anchor | undefined,
  ): Anchor {
    const { clock, records, hasExpired } = this.#ports;
    const lists = new AnchorLists(configured, config, {
      now: () => clock.now(),
      records,
      hasExpired,
    });
    if (before !== undefined) lists.follow(before.lists);
    const fetching = lists.sources.map((source) => ({
      source,
      dueAt: Number.NEGATIVE_INFINITY,
      busy: false,
      tried: false,
      problem: undefined,
    }));
    return {
      lists,
      fetching,
      shortcomings: [],
      alarmed: before?.alarmed ?? false,
      trusted: before?.trusted ?? (config.whenStale === 'warn' ? lists.trusted() : []),
      refused: before?.refused ?? 0,
      failed: before?.failed ?? 0,
      turn: Promise.resolve(),
    };
  }

  async #fetch(anchor: Anchor, fetching: Fetching): Promise<void> {
    const { obtain, clock } = this.#ports;
    const { config } = anchor.lists;
    const { source } = fetching;
    fetching.busy = true;
    let pauseMs = Math.min(config.everyMs, retryMs);
    try {
      const der = await obtain(source.source, config);
      const taken = anchor.turn.then(() => this.#take(anchor, source, der));
      anchor.turn = taken.catch(() => {});
      await taken;
      fetching.problem = undefined;
      pauseMs = this.#pauseOf(anchor.lists, source);
    } catch (error) {
      this.#failed(anchor, fetching, error);
    } finally {
      fetching.busy = false;
      fetching.tried = true;
      fetching.dueAt = clock.monotonic() + pauseMs;
      this.#judge(anchor);
    }
  }

  /** Half the time until the list ends, so that a new one is there before. */
  #pauseOf(lists: AnchorLists, source: ListSource): number {
    const leftMs = (lists.endOf(source) ?? 0) - this.#ports.clock.now();
    return Math.min(lists.config.everyMs, Math.max(retryMs, leftMs / 2));
  }

  /** What is taken from somebody comes first, and neither a full disk nor a spoilt log keeps it from the workers. */
  async #take(anchor: Anchor, source: ListSource, der: Buffer): Promise<void> {
    const { lists } = anchor;
    // The configuration is another by now.
    if (this.#anchors.get(lists.name) !== anchor) return;
    const weighed = await lists.weigh(source, der);
    if (weighed === undefined || this.#anchors.get(lists.name) !== anchor) return;
    this.#assertRoom(lists, weighed);
    const release = this.#onRecord(lists, weighed);
    await lists.take(weighed, release);
    if (weighed.addedCount > weighed.added.length) this.#ports.publishSnapshot();
    else await this.#publish(lists, 'revoked', weighed.added);
    if (release) await this.#publish(lists, 'unrevoked', weighed.released);
    try {
      await this.#ports.files.write(lists.name, source.id, der);
    } catch (error) {
      this.#warn(anchor, source, error, 'a revocation list could not be kept on the disk');
    }
  }

  #assertRoom(lists: AnchorLists, { source, list, kept }: WeighedList): void {
    let revoked = list.serials.size + kept.length - lists.sizeOf(source);
    for (const anchor of this.#anchors.values()) revoked += anchor.lists.size;
    const { mostRevoked } = this.#ports;
    if (revoked <= mostRevoked) return;
    throw new SallyportError(
      'too-large',
      `with it more than ${mostRevoked} certificates would be revoked`,
    );
  }

  #onRecord(lists: AnchorLists, weighed: WeighedList): boolean {
    const { source, list, added, addedCount, released, kept } = weighed;
    const { auditLog, logger } = this.#ports;
    const changes = addedCount + released.length + kept.length + list.authorities.size;
    logger.info(
      {
        anchor: lists.name,
        from: source.name,
        number: list.number.toString(),
        nextUpdate: new Date(list.nextUpdate).toISOString(),
        revoked: addedCount,
        released: released.length,
        kept: kept.length,
      },
      'revocation list taken',
    );
    if (changes === 0) return true;
    try {
      auditLog.append({
        actor: 'system',
        action: 'crl-taken',
        target: lists.name,
        detail: {
          from: source.name,
          number: list.number.toString(),
          revoked: named(added, addedCount),
          released: named(released),
          keptRevoked: named(kept),
          authorities: [...list.authorities].map(({ facts }) => facts.serialHex),
        },
      });
      return true;
    } catch (error) {
      logger.error(
        { anchor: lists.name, err: messageOf(error) },
        'a revocation list is not on record; nothing that it releases is released',
      );
      return false;
    }
  }

  async #publish(
    lists: AnchorLists,
    type: 'revoked' | 'unrevoked',
    serials: readonly string[],
  ): Promise<void> {
    for (let at = 0; at < serials.length; at += mostNamed) {
      const some = serials.slice(at, at + mostNamed);
      const keys = some.map((serial) => `${lists.name}:${serial}`);
      await this.#ports.publish([{ type, serials: keys }]);
    }
  }

  #judge(anchor: Anchor): void {
    const { lists, fetching } = anchor;
    if (this.#anchors.get(lists.name) !== anchor) return;
    anchor.shortcomings = lists.shortcomings();
    const isCurrent = anchor.shortcomings.length === 0;
    // Nobody is alarmed about a list that is on its way.
    const isAlarming = !isCurrent && fetching.every(({ tried }) => tried);
    if (anchor.alarmed ? isCurrent : isAlarming) {
      anchor.alarmed = !isCurrent;
      this.#alarm(lists, anchor.shortcomings);
    }
    const trusted = isCurrent || lists.config.whenStale === 'warn' ? lists.trusted() : [];
    if (isDeepStrictEqual(trusted, anchor.trusted)) return;
    const withdrawn = anchor.trusted.some((pem) => !trusted.includes(pem));
    anchor.trusted = trusted;
    if (this.#isLoaded) this.#ports.onTrust(withdrawn);
  }

  #alarm({ name, config }: AnchorLists, shortcomings: readonly string[]): void {
    const { auditLog, logger } = this.#ports;
    const isCurrent = shortcomings.length === 0;
    if (isCurrent) logger.info({ anchor: name }, 'the revocation lists are current again');
    else {
      logger.error(
        { anchor: name, whenStale: config.whenStale, shortcomings },
        config.whenStale === 'warn'
          ? 'the revocation lists are not current; certificates are accepted all the same'
          : 'the revocation lists are not current; no certificate of the anchor is accepted',
      );
    }
    const { whenStale } = config;
    try {
      auditLog.append({
        actor: 'system',
        action: isCurrent ? 'crl-current' : 'crl-stale',
        target: name,
        detail: { whenStale, shortcomings: [...shortcomings] },
      });
    } catch (error) {
      logger.error(
        { anchor: name, err: messageOf(error) },
        'the state of its lists is not on record',
      );
    }
  }

  /** Told once for each reason: a server that is down for a day is asked 2,880 times. */
  #failed(anchor: Anchor, fetching: Fetching, error: unknown): void {
    const problem = messageOf(error);
    const isRefused = ['malformed', 'integrity', 'too-large'].includes(errorCodeOf(error));
    if (isRefused) anchor.refused += 1;
    else anchor.failed += 1;
    if (problem === fetching.problem) return;
    fetching.problem = problem;
    if (!isRefused) {
      this.#warn(anchor, fetching.source, error, 'a revocation list could not be fetched');
      return;
    }
    const { logger, auditLog } = this.#ports;
    const { name: from } = fetching.source;
    const fields = { anchor: anchor.lists.name, from, err: problem };
    logger.error(fields, 'a revocation list was refused; the last good one stays');
    try {
      const target = anchor.lists.name;
      auditLog.append({
        actor: 'system',
        action: 'crl-refused',
        target,
        detail: { from, problem },
      });
    } catch (failure) {
      logger.error({ ...fields, err: messageOf(failure) }, 'the refusal is not on record');
    }
  }

  #warn({ lists }: Anchor, { name }: ListSource, error: unknown, message: string): void {
    const hint = error instanceof SallyportError ? error.hint : undefined;
    const fields = { anchor: lists.name, from: name, err: messageOf(error) };
    this.#ports.logger.warn(hint === undefined ? fields : { ...fields, hint }, message);
  }
}

function named(
  serials: readonly string[],
  count = serials.length,
): { readonly count: number; readonly some: string[] } {
  return { count, some: serials.slice(0, namedInAudit) };
}
