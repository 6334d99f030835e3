/**
 * Format 4.
 *
 * - `records` are entries that workers append, by worker and stream. Ids are never used again, so a page goes on where
 *   the one before has ended, whatever was removed meanwhile.
 * - The one index has the keys too: a query looks at them without reading the entries themselves.
 * - `record_totals` is kept by the writer, once for each call: the limits are looked at without counting.
 */
export const records = {
  format: 4,
  sql: `
    CREATE TABLE records (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      worker TEXT NOT NULL,
      stream TEXT NOT NULL,
      key TEXT NOT NULL,
      at INTEGER NOT NULL,
      meta TEXT NOT NULL,
      payload BLOB NOT NULL,
      bytes INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX records_by_time ON records (worker, stream, at, id, key);

    CREATE TABLE record_totals (
      worker TEXT NOT NULL,
      stream TEXT NOT NULL,
      count INTEGER NOT NULL,
      bytes INTEGER NOT NULL,
      PRIMARY KEY (worker, stream)
    ) STRICT, WITHOUT ROWID;
  `,
} as const
