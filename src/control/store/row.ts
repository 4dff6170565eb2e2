/** Columns of a row, with the type that the schema promises. */
import type { SQLOutputValue } from 'node:sqlite';
import { SallyportError } from '../../common/base/errors.ts';

export type Row = Readonly<Record<string, SQLOutputValue>>;

/** @throws SallyportError `tampered`, as all of them, when the column holds something else. */
export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw damaged(column);
  return value;
}

export function integer(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== 'number') throw damaged(column);
  return value;
}

export function bytes(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw damaged(column);
  return value;
}

export function optionalText(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : text(row, column);
}

export function optionalInteger(row: Row, column: string): number | undefined {
  return row[column] === null ? undefined : integer(row, column);
}

function damaged(column: string): SallyportError {
  return new SallyportError('tampered', `the database holds something else than ${column} should`);
}
