/**
 * What a backend wrote down, a line per request, and the questions that tests ask it: has everything arrived that a
 * device was promised, in order, and was what came twice the same message?
 */
import { readFileSync } from 'node:fs';
import type { ContentMode, ReceivedEvent } from './backend-event.ts';

/** One line of the record. It was on file before the backend answered. */
export interface BackendRequest {
  /** Milliseconds, wall clock. */
  readonly at: number;
  /** What the backend did about it: the `do` of its behaviour. */
  readonly did: string;
  /** Whether the backend took the events for good, so that the sender need not send them again. */
  readonly accepted: boolean;
  readonly path: string;
  /** Names in lower case with every value that was sent. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** Remote port: requests of one connection have it in common. */
  readonly connection: number;
  /** Common name of the client's certificate. */
  readonly client?: string;
  readonly mode?: ContentMode;
  readonly events: readonly ReceivedEvent[];
  /** What is wrong with its form; it was answered 400 then. */
  readonly problem?: string;
}

/** An event among all that were accepted, in the order of their arrival. */
export interface Arrival extends ReceivedEvent {
  readonly request: BackendRequest;
}

/** A message that a device was promised; `seq` is a member of its payload. */
export interface Promised {
  readonly device: string;
  readonly seq: number;
}

export class BackendRecord {
  readonly #requests: BackendRequest[] = [];
  readonly #arrivals: Arrival[] = [];

  constructor(requests: readonly BackendRequest[] = []) {
    for (const request of requests) this.add(request);
  }

  static read(file: string): BackendRecord {
    return new BackendRecord(parseRecord(readFileSync(file, 'utf8')));
  }

  add(request: BackendRequest): void {
    this.#requests.push(request);
    if (!request.accepted) return;
    for (const event of request.events) this.#arrivals.push({ ...event, request });
  }

  get requests(): readonly BackendRequest[] {
    return this.#requests;
  }

  /** Accepted events, repeated ones among them. */
  get arrivals(): readonly Arrival[] {
    return this.#arrivals;
  }

  /** What is on it of these devices only. */
  about(devices: ReadonlySet<string>): BackendRecord {
    const record = new BackendRecord();
    for (const request of this.#requests) {
      const events = request.events.filter(({ device }) => devices.has(device));
      if (events.length > 0 || request.problem !== undefined) record.add({ ...request, events });
    }
    return record;
  }

  /** Of `promised`, those that never arrived. */
  missing(promised: Iterable<Promised>): readonly Promised[] {
    const there = new Set(this.arrivals.map(messageKey));
    return [...promised].filter((message) => !there.has(messageKey(message)));
  }

  /** `device: 7 after 9` wherever the first arrival of a message came after that of a later one. */
  disorder(): readonly string[] {
    const latest = new Map<string, number>();
    const seen = new Set<string>();
    const found: string[] = [];
    for (const arrival of this.arrivals) {
      const { device, seq } = arrival;
      const key = messageKey(arrival);
      if (seq === undefined || seen.has(key)) continue;
      seen.add(key);
      const before = latest.get(device);
      if (before !== undefined && seq < before) found.push(`${device}: ${seq} after ${before}`);
      latest.set(device, Math.max(seq, before ?? seq));
    }
    return found;
  }

  /**
   * What a receiver that goes by the id would take for two messages, or lose: a message under two ids, and an id with
   * two contents. Repetition under the same id is what at-least-once means. A sender who was not told that a message
   * was taken sends it again, under the next number of `sending`: that is another message to the gateway, and may have
   * an id of its own.
   */
  unfaithfulRepetitions(): readonly string[] {
    const idOf = new Map<string, string>();
    const contentOf = new Map<string, string>();
    const found = new Set<string>();
    for (const { events } of this.requests) {
      for (const event of events) {
        const content = contentKey(event);
        const before = contentOf.get(event.id);
        if (before !== undefined && before !== content) {
          found.add(`id ${event.id} is ${before} and ${content}`);
        }
        contentOf.set(event.id, content);
        if (event.seq === undefined) continue;
        const key = sendingKey(event);
        const id = idOf.get(key);
        if (id !== undefined && id !== event.id) {
          found.add(`${key} has the ids ${id} and ${event.id}`);
        }
        idOf.set(key, event.id);
      }
    }
    return [...found];
  }

  /** How many arrivals repeat an earlier one. */
  get repetitions(): number {
    return this.arrivals.length - new Set(this.arrivals.map(({ id }) => id)).size;
  }

  /** What was wrong with the form of requests. */
  get problems(): readonly string[] {
    return this.requests.flatMap(({ problem }) => (problem === undefined ? [] : [problem]));
  }

  /**
   * Everything at once: all that was promised is there, first arrivals in order per device, repetitions faithful, no
   * request malformed.
   *
   * @throws Error that names what is wrong, the first few of each kind.
   */
  assertSound(promised: Iterable<Promised>): void {
    const faults = [
      ...few('lost', this.missing(promised).map(messageKey)),
      ...few('out of order', this.disorder()),
      ...few('repeated unfaithfully', this.unfaithfulRepetitions()),
      ...few('malformed', this.problems),
    ];
    if (faults.length > 0) throw new Error(faults.join('; '));
  }
}

/**
 * A line without its newline was being written when the backend was killed. It has not answered that request, so it
 * has promised nothing.
 */
export function parseRecord(text: string): BackendRequest[] {
  const requests: BackendRequest[] = [];
  for (const line of text.split('\n')) {
    try {
      requests.push(JSON.parse(line) as BackendRequest); // the backend of this harness wrote it
    } catch {
      // Torn, or the empty line that the next start put behind a torn one.
    }
  }
  return requests;
}

function messageKey({
  device,
  seq,
  id,
}: {
  device: string;
  seq?: number | undefined;
  id?: string;
}) {
  return seq === undefined ? `id ${id ?? ''}` : `${device} ${seq}`;
}

function sendingKey(event: ReceivedEvent): string {
  const { sending } = event;
  return sending === undefined ? messageKey(event) : `${messageKey(event)} sending ${sending}`;
}

function contentKey({ source, subject, type, time, contentType, sha256 }: ReceivedEvent): string {
  return [source, subject, type, time, contentType, sha256].join(' ');
}

function few(what: string, found: readonly string[]): string[] {
  if (found.length === 0) return [];
  const shown = found.slice(0, 5).join(', ');
  return [`${found.length} ${what}: ${shown}${found.length > 5 ? ', …' : ''}`];
}
