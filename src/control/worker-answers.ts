/**
 * Answers of workers, checked: a worker may be in an attacker's hands, and what it says is shown to operators. Anything
 * that is not what was asked for is refused whole.
 */
import { SallyportError } from '../common/base/errors.ts';
import { parsePrincipalName } from '../common/base/principal.ts';
import { topicProblem } from '../common/base/topic-filter.ts';
import type { DeadLetter, SpoolState } from '../common/ipc/messages.ts';

/** 256 routes of 8 backends, and as many that the configuration no longer has. */
const maxSpools = 4_096;
const maxTopicBytes = 65_535;
const maxReasonCharacters = 500;
const lastTimeMs = 8.64e15;

export const spoolPattern = /^[a-z][a-z0-9_-]{0,63}\/[a-z][a-z0-9_-]{0,63}$/;
/** Also the form of a command's id, and of what operators name. */
const eventIdPattern = /^[0-9A-Za-z._:-]{1,128}$/;

/** @throws SallyportError `internal`, as all of these. */
export function commandId(answer: unknown): string {
  const id = record(answer)['id'];
  if (typeof id !== 'string' || !eventIdPattern.test(id)) throw noAnswer();
  return id;
}

export function messageCount(answer: unknown): number {
  return count(record(answer)['messages']);
}

export function spoolStates(answer: unknown): readonly SpoolState[] {
  return list(answer, maxSpools).map((entry) => {
    const { spool, waiting, bytes, deadLetters } = record(entry);
    if (typeof spool !== 'string' || !spoolPattern.test(spool)) throw noAnswer();
    return {
      spool,
      waiting: count(waiting),
      bytes: count(bytes),
      deadLetters: count(deadLetters),
    };
  });
}

export function deadLettersOf(answer: unknown, limit: number): readonly DeadLetter[] {
  return list(answer, limit).map((entry) => {
    const { id, publisher, topic, acceptedAt, refusedAt, reason, bytes } = record(entry);
    const name = typeof publisher === 'string' ? parsePrincipalName(publisher)?.name : undefined;
    if (typeof id !== 'string' || !eventIdPattern.test(id) || name === undefined) throw noAnswer();
    if (typeof topic !== 'string' || topicProblem(topic) !== undefined) throw noAnswer();
    if (Buffer.byteLength(topic) > maxTopicBytes || typeof reason !== 'string') throw noAnswer();
    return {
      id,
      publisher: name,
      topic,
      acceptedAt: time(acceptedAt),
      refusedAt: time(refusedAt),
      reason: reason.slice(0, maxReasonCharacters).toWellFormed(),
      bytes: count(bytes),
    };
  });
}

function list(value: unknown, most: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > most) throw noAnswer();
  return value;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw noAnswer();
  return value as Readonly<Record<string, unknown>>; // just shown
}

function count(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw noAnswer();
  return value;
}

function time(value: unknown): number {
  const ms = count(value);
  // Beyond it there is no date, and writing one throws.
  if (ms > lastTimeMs) throw noAnswer();
  return ms;
}

function noAnswer(): SallyportError {
  return new SallyportError('internal', 'a worker answered what is no answer', {
    hint: 'see the log of the gateway',
  });
}
