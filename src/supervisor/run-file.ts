/** `<data>/run.json`: there while the gateway is ready, written whole or not at all. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';

export interface RunFile {
  readonly version: 1;
  readonly ready: true;
  readonly pid: number;
  readonly startedAt: string;
  readonly workers: readonly number[];
  readonly listeners: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
}

export function writeRunFile(path: string, run: RunFile): void {
  const temporary = `${path}.${process.pid}.tmp`;
  const fd = openSync(temporary, 'w', 0o644);
  try {
    writeSync(fd, `${JSON.stringify(run)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
}

export function removeRunFile(path: string): void {
  rmSync(path, { force: true });
}
