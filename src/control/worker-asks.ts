/**
 * Questions to the workers, for operators: any one of them can answer. Each is asked of one worker; of another only when
 * asking twice does no harm.
 */
import { randomInt } from 'node:crypto';
import { isErrorCode, SallyportError } from '../common/base/errors.ts';
import type { ControlToWorker, Member, WorkerAsk } from '../common/ipc/messages.ts';

const answerMs = 5_000;
/** For all the dead letters that a spool may keep, a million of them. */
const settleMs = 60_000;
/** A worker that is asked answers in milliseconds: more than this under way means that none does. */
const maxUnderWay = 64;
const maxMessageCharacters = 200;

export interface WorkerAsksPorts {
  readonly toWorker: (slot: number, message: ControlToWorker) => void;
  readonly members: () => readonly Member[];
  /** Seq of the last snapshot frame that the worker of the slot has applied; -1 before the first. */
  readonly acknowledgedSeq: (slot: number) => number;
  readonly later: (ms: number, action: () => void) => () => void;
}

interface Waiting {
  readonly member: Member;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: SallyportError) => void;
}

/** The worker gave no answer; what was asked may have been done all the same. */
class NoAnswer extends SallyportError {}

export class WorkerAsks {
  readonly #ports: WorkerAsksPorts;
  readonly #waiting = new Map<number, Waiting>();
  /** Begins anywhere, so that an answer to an earlier control's question is nobody's. */
  #lastId = randomInt(1, 2 ** 40);

  constructor(ports: WorkerAsksPorts) {
    this.#ports = ports;
  }

  /**
   * What a worker answered, unchecked: it is not trusted.
   *
   * @throws SallyportError what the worker refused with; `unavailable` when no worker serves, `busy` when too many
   *   questions are open, `timeout` when none answered.
   */
  async ask(ask: WorkerAsk): Promise<unknown> {
    const [first] = this.#candidates();
    if (first === undefined) throw noWorker();
    try {
      return await this.#askOne(first, ask);
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      if (!isHarmlessTwice(ask)) throw maybeDone(ask, error);
      const other = this.#candidates().find((member) => !isSame(member, first));
      if (other === undefined) throw error;
      return this.#askOne(other, ask);
    }
  }

  /** From a worker, so untrusted: only the one that was asked can answer, and once. */
  answered(slot: number, message: Readonly<Record<string, unknown>>): void {
    const { id } = message;
    if (typeof id !== 'number') return;
    const waiting = this.#waiting.get(id);
    if (waiting?.member.slot !== slot) return;
    this.#waiting.delete(id);
    if (message['ok'] === true) waiting.resolve(message['value']);
    else waiting.reject(refusalIn(message));
  }

  workerGone(slot: number, generation: number): void {
    this.#abandon((member) => isSame(member, { slot, generation }));
  }

  setMembers(members: readonly Member[]): void {
    this.#abandon((asked) => !members.some((member) => isSame(member, asked)));
  }

  #abandon(isGone: (member: Member) => boolean): void {
    for (const [id, { member, reject }] of this.#waiting) {
      if (!isGone(member)) continue;
      this.#waiting.delete(id);
      reject(new NoAnswer('unavailable', 'the worker that was asked has ended', { hint: again }));
    }
  }

  #askOne(member: Member, ask: WorkerAsk): Promise<unknown> {
    if (this.#waiting.size >= maxUnderWay) {
      throw new SallyportError('busy', 'too many questions to the workers are open', {
        hint: again,
      });
    }
    this.#lastId += 1;
    const id = this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    const ms = settles(ask) ? settleMs : answerMs;
    const cancel = this.#ports.later(ms, () => {
      if (!this.#waiting.delete(id)) return;
      answer.reject(new NoAnswer('timeout', 'a worker did not answer in time', { hint: again }));
    });
    this.#waiting.set(id, { member, resolve: answer.resolve, reject: answer.reject });
    this.#ports.toWorker(member.slot, { type: 'ask', id, ask });
    return answer.promise.finally(cancel);
  }

  /** Those that serve, the most current first; of equals each in its turn. */
  #candidates(): readonly Member[] {
    const { members, acknowledgedSeq } = this.#ports;
    const serving = members().flatMap((member) => {
      const seq = acknowledgedSeq(member.slot);
      return seq < 0 ? [] : [{ member, seq }];
    });
    const turn = serving.length === 0 ? 0 : this.#lastId % serving.length;
    return [...serving.slice(turn), ...serving.slice(0, turn)]
      .toSorted((a, b) => b.seq - a.seq)
      .map(({ member }) => member);
  }
}

const again = 'try again in a moment';

function noWorker(): SallyportError {
  return new SallyportError('unavailable', 'no worker serves yet', { hint: again });
}

function isSame(a: Omit<Member, 'pid'>, b: Omit<Member, 'pid'>): boolean {
  return a.slot === b.slot && a.generation === b.generation;
}

function settles({ what }: WorkerAsk): boolean {
  return what === 'retry-dead-letters' || what === 'discard-dead-letters';
}

function isHarmlessTwice({ what }: WorkerAsk): boolean {
  switch (what) {
    case 'spools':
    case 'dead-letters':
      return true;
    // Twice it would be two commands, and "all of them" would be others the second time.
    case 'send-command':
    case 'retry-dead-letters':
    case 'discard-dead-letters':
      return false;
  }
}

function maybeDone({ what }: WorkerAsk, error: NoAnswer): SallyportError {
  return what === 'send-command'
    ? new SallyportError(error.code, `${error.message}: the command may or may not be stored`, {
        hint: 'send it again only if the device may get it twice',
      })
    : new SallyportError(error.code, `${error.message}: it may or may not be done`, {
        hint: 'see what is left with: sallyport route list',
      });
}

function refusalIn(message: Readonly<Record<string, unknown>>): SallyportError {
  const { code, message: text } = message;
  return new SallyportError(
    isErrorCode(code) ? code : 'internal',
    typeof text === 'string' ? text.slice(0, maxMessageCharacters) : 'a worker refused',
  );
}
