/** What LMDB knows of its pages at any time: mdb_stat(2) and mdb_env_info(2), which lmdb's own typing leaves open. */
import type { Database, RootDatabase } from 'lmdb';

export interface Statistics {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
  readonly entryCount: number;
}

interface FileStatistics {
  readonly pageSize: number;
  readonly lastPageNumber: number;
  /** Of the tree that names the free pages. */
  readonly free: Statistics;
}

export function statistics(database: Database<Buffer, Buffer>): Statistics {
  // lmdb declares `{}`.
  return database.getStats() as Statistics;
}

export function fileStatistics(root: RootDatabase<Buffer, Buffer>): FileStatistics {
  // As above.
  return root.getStats() as FileStatistics;
}

export function pagesOf(tree: Statistics): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages;
}
