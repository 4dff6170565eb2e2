/** One line of the audit log: what it says, how it is written, and how its hash chains it to the line before. */
import { hash } from 'node:crypto';
import { canonicalJson } from './canonical-json.ts';
import type { JsonValue } from './canonical-json.ts';

/** What happened, as the caller tells it. */
export interface AuditEntry {
  /** `local:<uid>`, `operator/<name>`, `system`. */
  readonly actor: string;
  /** `device.revoke`, `ca.export-root`, … */
  readonly action: string;
  /** What it was done to; empty when to nothing in particular. */
  readonly target: string;
  readonly detail?: Readonly<Record<string, JsonValue | undefined>>;
}

export interface AuditRecord {
  /** 1 for the first line. */
  readonly seq: number;
  /** ISO 8601 in UTC, milliseconds. */
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly detail: JsonValue;
  /** Hash of the line before; 64 zeros on the first. */
  readonly prev: string;
  /** SHA-256, hex, of the canonical JSON of the other members. */
  readonly hash: string;
}

export const firstPrev = '0'.repeat(64);
/** A line that could grow without bound would fill the disk and stop what must be logged. */
const maxNameCharacters = 256;
const maxDetailCharacters = 4096;
/** Every character escaped as six. */
export const maxLineBytes = 6 * (3 * maxNameCharacters + 2 * maxDetailCharacters);

export function chainRecord(
  entry: AuditEntry,
  seq: number,
  atMs: number,
  prev: string,
): AuditRecord {
  const content = {
    seq,
    at: new Date(atMs).toISOString(),
    actor: bounded(entry.actor),
    action: bounded(entry.action),
    target: bounded(entry.target),
    detail: boundedDetail(entry.detail ?? {}),
    prev,
  };
  return { ...content, hash: hash('sha256', canonicalJson(content), 'hex') };
}

/** The line without its newline: members in reading order. */
export function formatRecord(record: AuditRecord): string {
  const { seq, at, actor, action, target, detail, prev, hash: own } = record;
  const head = JSON.stringify({ seq, at, actor, action, target }).slice(0, -1);
  return `${head},"detail":${canonicalJson(detail)},"prev":"${prev}","hash":"${own}"}`;
}

/**
 * The record of a line whose text and hash agree, else undefined. The text must be exactly what `formatRecord` writes:
 * a member said twice or an escape changed would read differently to different eyes.
 */
export function parseRecord(line: string): AuditRecord | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (!isRecord(value) || formatRecord(value) !== line) return undefined;
    const { hash: own, ...content } = value;
    return hash('sha256', canonicalJson(content), 'hex') === own ? value : undefined;
  } catch {
    // Not JSON, or nested so deeply that it cannot be written again: not a line of ours.
    return undefined;
  }
}

function isRecord(value: unknown): value is AuditRecord {
  if (typeof value !== 'object' || value === null) return false;
  const fields = new Map<string, unknown>(Object.entries(value));
  return (
    fields.size === 8 &&
    Number.isSafeInteger(fields.get('seq')) &&
    fields.has('detail') &&
    ['at', 'actor', 'action', 'target', 'prev', 'hash'].every(
      (name) => typeof fields.get(name) === 'string',
    )
  );
}

function bounded(text: string): string {
  return text.length > maxNameCharacters ? `${text.slice(0, maxNameCharacters)}…` : text;
}

function boundedDetail(detail: Readonly<Record<string, JsonValue | undefined>>): JsonValue {
  const text = JSON.stringify(detail);
  if (text.length > maxDetailCharacters) {
    return { cut: text.slice(0, maxDetailCharacters), characters: text.length };
  }
  // Through the text and back: what is hashed is what a reader of the file will find.
  return JSON.parse(text) as JsonValue; // the parse of JSON is JSON
}
