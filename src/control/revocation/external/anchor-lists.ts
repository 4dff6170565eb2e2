/**
 * The revocation lists of one trust anchor: what they revoke, whether they are current, and what a new one changes.
 * Taking a list is two steps, so that the change is on record before it takes effect: `weigh` verifies and compares,
 * `take` puts it in force.
 */
import { createHash, hash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { SallyportError } from '../../../common/base/errors.ts';
import type {
  RevocationListsConfig,
  RevocationListSource,
  TrustAnchorConfig,
} from '../../../common/config/config.ts';
import { SerialSet, serialBytes, serialText } from '../../../common/base/serial-set.ts';
import type { CrlRecords, SeenList } from './crl-records.ts';
import { nameOfSource } from './obtain-crl.ts';
import { readCrlHead, revokedIn } from './read-crl.ts';
import { Slices } from './slices.ts';
import { crlAuthorities, verifyCrl } from './verify-crl.ts';
import type { CrlAuthority } from './verify-crl.ts';

/** How far the clock of an authority may be before ours. */
const clockSkewMs = 5 * 60_000;
const dayMs = 86_400_000;
const pieceBytes = 1024 * 1024;
const serialsPerTransaction = 5_000;
/** Of an anchor: what vanished from its lists and stays revoked. Bounds memory and disk. */
const mostKept = 1_000_000;
/** Newly revoked ones that are told to the workers by themselves; of more, the whole list is. */
export const mostNamed = 10_000;

/** Serial numbers are lower-case hex without leading zeros. */
interface List extends SeenList {
  readonly authority: CrlAuthority;
  readonly nextUpdate: number;
  /** Kept from before the newest one that was taken, which is lost: what it revokes is all that is known. */
  readonly isSuperseded: boolean;
  readonly serials: SerialSet;
  readonly onHold: ReadonlySet<string>;
  /** Of the anchor's own authorities, those that this list revokes; their serial numbers are not in `serials`. */
  readonly authorities: ReadonlySet<CrlAuthority>;
}

export interface ListSource {
  readonly source: RevocationListSource;
  /** Names it in records and files. */
  readonly id: string;
  /** Names it for people. */
  readonly name: string;
}

/** What taking a list changes. */
export interface WeighedList {
  readonly source: ListSource;
  readonly list: List;
  /** The first `mostNamed` of them. */
  readonly added: readonly string[];
  readonly addedCount: number;
  /** Not revoked any more, as the standard allows: they were on hold, or have expired. */
  readonly released: readonly string[];
  /** On the list no more, and revoked all the same. */
  readonly kept: readonly string[];
  /** Kept before, and on the list again or kept for long enough. */
  readonly letGo: readonly string[];
}

export interface AnchorListPorts {
  readonly now: () => number;
  readonly records: CrlRecords;
  /** Whether this certificate is known here and has expired. */
  readonly hasExpired: (anchor: string, serial: string) => boolean;
}

export class AnchorLists {
  readonly name: string;
  readonly config: RevocationListsConfig;
  readonly sources: readonly ListSource[];
  readonly #ports: AnchorListPorts;
  readonly #authorities: readonly CrlAuthority[];
  readonly #lists = new Map<string, List>();
  /** Serial → since when. */
  readonly #kept: Map<string, number>;

  /** @throws SallyportError `invalid-certificate` for a file of the anchor that cannot be read. */
  constructor(
    anchor: Pick<TrustAnchorConfig, 'name' | 'pem'>,
    config: RevocationListsConfig,
    ports: AnchorListPorts,
  ) {
    this.name = anchor.name;
    this.config = config;
    this.#ports = ports;
    this.sources = config.from.map((source) => ({
      source,
      id: idOfSource(source),
      name: nameOfSource(source),
    }));
    this.#authorities = crlAuthorities(anchor.pem);
    this.#kept = ports.records.kept(anchor.name);
  }

  /**
   * The lists of `before` go on holding where they come from the same place and the authority that signed them is still
   * there, whatever else has changed.
   */
  follow(before: AnchorLists): void {
    for (const { id } of this.sources) {
      const list = before.#lists.get(id);
      const adopted = list === undefined ? undefined : this.#adopted(list);
      if (adopted !== undefined) this.#lists.set(id, adopted);
    }
  }

  /** Whether something that is revoked here would not be by `after`, which follows it. */
  hasMoreThan(after: AnchorLists | undefined): boolean {
    if (after === undefined) return this.size > 0;
    const tables = after.tables();
    return this.tables().some((each) => each.size > 0 && !tables.includes(each));
  }

  /** How many certificates are revoked. */
  get size(): number {
    let size = this.#kept.size;
    for (const { serials } of this.#lists.values()) size += serials.size;
    return size;
  }

  /** By the list of this source. */
  sizeOf({ id }: ListSource): number {
    return this.#lists.get(id)?.serials.size ?? 0;
  }

  /** Of the lists that are there, the first to end. */
  get nextUpdate(): number | undefined {
    const ends = [...this.#lists.values()].map(({ nextUpdate }) => nextUpdate);
    return ends.length === 0 ? undefined : Math.min(...ends);
  }

  endOf({ id }: ListSource): number | undefined {
    return this.#lists.get(id)?.nextUpdate;
  }

  /** Why the lists do not say today which certificates are revoked; empty when they do. */
  shortcomings(): string[] {
    const now = this.#ports.now();
    const lists = this.sources.map((source) => ({ source, list: this.#lists.get(source.id) }));
    const found = lists.flatMap(({ source, list }) => {
      if (list === undefined) return [`there is no list from ${source.name} yet`];
      if (list.isSuperseded) return [`the newest list from ${source.name} is lost`];
      if (now < list.nextUpdate) return [];
      const ended = new Date(list.nextUpdate).toISOString();
      return [`the list from ${source.name} was to be replaced by ${ended}`];
    });
    if (lists.some(({ list }) => list === undefined)) return found;
    const uncovered = this.#authorities.filter(
      (each) => each.signsClients && !lists.some(({ list }) => list?.authority === each),
    );
    return [
      ...found,
      ...uncovered.map(
        ({ facts }) =>
          `no list is of the authority ${facts.commonNames.join(', ') || facts.serialHex}`,
      ),
    ];
  }

  /** PEM of the anchor's certificates that no list revokes. */
  trusted(): string[] {
    const revoked = new Set<CrlAuthority>();
    for (const { authorities } of this.#lists.values()) {
      for (const each of authorities) revoked.add(each);
    }
    return this.#authorities.filter((each) => !revoked.has(each)).map(({ pem }) => pem);
  }

  /** What each list revokes. */
  tables(): SerialSet[] {
    return [...this.#lists.values()].map(({ serials }) => serials);
  }

  /** Serial numbers that are revoked although they are on no list. */
  kept(): Iterable<string> {
    return this.#kept.keys();
  }

  isKept(serialHex: string): boolean {
    return this.#kept.has(serialHex);
  }

  /**
   * The list in `der`, verified, and what it would change; undefined when it is the one that is there. Nothing has
   * changed yet. Must not run twice at once.
   *
   * @param isKept it was taken before and comes from our own disk: an older one is better than none, and not current.
   * @throws SallyportError `malformed`; `integrity` when none of the anchor's authorities has signed it, or it is older
   *   than one that was taken before.
   */
  async weigh(source: ListSource, der: Buffer, isKept = false): Promise<WeighedList | undefined> {
    const sha256 = await digestOf(der);
    const before = this.#lists.get(source.id);
    if (before?.sha256 === sha256) return undefined;
    const list = await this.#read(source, der, sha256, isKept);
    const others = [...this.#lists].flatMap(([id, each]) =>
      id === source.id ? [] : [each.serials],
    );
    return {
      source,
      list,
      ...(await this.#addedBy(list.serials, before?.serials, others)),
      ...(await this.#goneWith(list.serials, before, others)),
    };
  }

  /** @param release false when the release of certificates could not be put on record: they stay revoked. */
  async take(weighed: WeighedList, release: boolean): Promise<void> {
    const { source, list, released } = weighed;
    const { records, now } = this.#ports;
    const at = now();
    const keep = release ? weighed.kept : [...weighed.kept, ...released];
    const wanted = keep.filter((serial) => !this.#kept.has(serial));
    // What stays revoked is on the disk before the list that has lost it.
    await inParts(wanted, (some) => records.keep(this.name, some, at));
    for (const serial of wanted) this.#kept.set(serial, at);
    if (!list.isSuperseded) records.see(this.name, source.id, list);
    this.#lists.set(source.id, list);
    const isListed = (serial: string): boolean => list.serials.has(serialBytes(serial));
    const gone = release ? weighed.letGo : weighed.letGo.filter(isListed);
    await inParts(gone, (some) => records.letGo(this.name, some));
    for (const serial of gone) this.#kept.delete(serial);
  }

  async #addedBy(
    serials: SerialSet,
    before: SerialSet | undefined,
    others: readonly SerialSet[],
  ): Promise<Pick<WeighedList, 'added' | 'addedCount'>> {
    const known = before === undefined ? others : [before, ...others];
    const added: string[] = [];
    let addedCount = 0;
    const slices = new Slices();
    for (const serial of serials.values()) {
      const isNew = !known.some((each) => each.has(serial));
      if (isNew && !(this.#kept.size > 0 && this.#kept.has(serialText(serial)))) {
        addedCount += 1;
        if (added.length < mostNamed) added.push(serialText(serial));
      }
      if (slices.isOver()) await slices.next();
    }
    return { added, addedCount };
  }

  async #goneWith(
    serials: SerialSet,
    before: List | undefined,
    others: readonly SerialSet[],
  ): Promise<Pick<WeighedList, 'released' | 'kept' | 'letGo'>> {
    const { now, hasExpired } = this.#ports;
    const released: string[] = [];
    const kept: string[] = [];
    const letGo: string[] = [];
    const slices = new Slices();
    for (const octets of before?.serials.values() ?? []) {
      if (!serials.has(octets) && !others.some((each) => each.has(octets))) {
        const serial = serialText(octets);
        const mayGo = before?.onHold.has(serial) === true || hasExpired(this.name, serial);
        (mayGo ? released : kept).push(serial);
      }
      if (slices.isOver()) await slices.next();
    }
    if (this.#kept.size + kept.length > mostKept) {
      throw refused(
        `more than ${mostKept} certificates have vanished from the lists of the anchor`,
      );
    }
    const keptUntil = now() - this.config.keepDays * dayMs;
    for (const [serial, since] of this.#kept) {
      const octets = serialBytes(serial);
      const isListed = serials.has(octets) || others.some((each) => each.has(octets));
      if (isListed) letGo.push(serial);
      else if (since <= keptUntil || hasExpired(this.name, serial)) {
        letGo.push(serial);
        released.push(serial);
      }
      if (slices.isOver()) await slices.next();
    }
    return { released, kept, letGo };
  }

  async #read(source: ListSource, der: Buffer, sha256: string, isKept: boolean): Promise<List> {
    const head = readCrlHead(der);
    const authority = await verifyCrl(head, this.#authorities);
    const { thisUpdate, nextUpdate, number } = head;
    const { spkiSha256: authorityKey } = authority.facts;
    const seen = { authorityKey, number, thisUpdate, sha256 };
    const older = this.#olderThan(source, seen);
    if (older !== undefined && !isKept) throw refused(older);
    if (thisUpdate > this.#ports.now() + clockSkewMs) {
      throw refused(`it is from ${new Date(thisUpdate).toISOString()}, which is to come`);
    }
    const below = new Map(
      this.#authorities
        .filter((each) => each !== authority && each.facts.issuer.equals(head.issuer))
        .map((each) => [each.facts.serialHex, each]),
    );
    const onHold = new Set<string>();
    const authorities = new Set<CrlAuthority>();
    const found = new FoundSerials(head.entries.length);
    const slices = new Slices();
    for (const { serial, onHold: isOnHold } of revokedIn(head.entries)) {
      const ofOurs = below.size === 0 ? undefined : below.get(serialText(serial));
      if (ofOurs !== undefined) authorities.add(ofOurs);
      else found.add(serial);
      if (isOnHold) onHold.add(serialText(serial));
      if (slices.isOver()) await slices.next();
    }
    const serials = await found.set();
    const isSuperseded = older !== undefined;
    return { ...seen, authority, nextUpdate, isSuperseded, serials, onHold, authorities };
  }

  /** Section 5.2.3: the number of a list is greater than that of every one before it of the same authority and scope. */
  #olderThan(source: ListSource, list: SeenList): string | undefined {
    const seen = this.#ports.records.seen(this.name, source.id);
    if (seen === undefined || seen.sha256 === list.sha256) return undefined;
    const sameKey = seen.authorityKey === list.authorityKey;
    if ((sameKey && list.number < seen.number) || list.thisUpdate < seen.thisUpdate) {
      return `it is older than number ${seen.number}, which was taken before`;
    }
    if (sameKey && list.number === seen.number) {
      return `it is another one than number ${seen.number} was`;
    }
    return undefined;
  }

  /** Its authorities are objects of somebody else, and there may be others now, which it revokes as well. */
  #adopted(list: List): List | undefined {
    const { subject } = list.authority.facts;
    const authority = this.#authorities.find(
      ({ facts }) => facts.spkiSha256 === list.authorityKey && facts.subject.equals(subject),
    );
    if (authority === undefined) return undefined;
    const known = new Set([...list.authorities].map(({ facts }) => facts.serialHex));
    const revoked = this.#authorities.filter((each) => {
      const { issuer, serialHex } = each.facts;
      if (each === authority || !issuer.equals(subject)) return false;
      return known.has(serialHex) || list.serials.has(serialBytes(serialHex));
    });
    return { ...list, authority, authorities: new Set(revoked) };
  }
}

function idOfSource(source: RevocationListSource): string {
  const text = 'url' in source ? source.url : source.file;
  return hash('sha256', text, 'hex').slice(0, 32);
}

/** SHA-256 in hex, in slices. */
async function digestOf(der: Buffer): Promise<string> {
  const digest = createHash('sha256');
  for (let at = 0; at < der.length; at += pieceBytes) {
    digest.update(der.subarray(at, at + pieceBytes));
    await turn();
  }
  return digest.digest('hex');
}

/** Serial numbers as they come: how many and how long they are is known at the end. */
class FoundSerials {
  readonly #octets: Buffer;
  #length = 0;
  #count = 0;
  #longest = 0;

  /** @param most octets of the entries that they are in; an entry has more than its number and one octet. */
  constructor(most: number) {
    this.#octets = Buffer.allocUnsafe(most);
  }

  add(serial: Buffer): void {
    this.#octets[this.#length] = serial.length;
    serial.copy(this.#octets, this.#length + 1);
    this.#length += 1 + serial.length;
    this.#count += 1;
    this.#longest = Math.max(this.#longest, serial.length);
  }

  async set(): Promise<SerialSet> {
    const set = SerialSet.for(this.#count, this.#longest);
    const octets = this.#octets;
    const slices = new Slices();
    for (let at = 0; at < this.#length; at += 1 + (octets[at] ?? 0)) {
      set.add(octets.subarray(at + 1, at + 1 + (octets[at] ?? 0)));
      if (slices.isOver()) await slices.next();
    }
    return set;
  }
}

/** Transactions of a few milliseconds each, with the event loop free between them. */
async function inParts(
  serials: readonly string[],
  write: (some: readonly string[]) => void,
): Promise<void> {
  for (let at = 0; at < serials.length; at += serialsPerTransaction) {
    write(serials.slice(at, at + serialsPerTransaction));
    await turn();
  }
}

function refused(detail: string): SallyportError {
  return new SallyportError('integrity', `the list is refused: ${detail}`);
}
