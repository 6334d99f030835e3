/**
 * Format 3.
 *
 * - `runs.parent` is the id of the batch that a run belongs to, a ULID.
 * - `batches.facts` never changes (what is done, on which targets, how), `progress` does; both are JSON.
 */
export const batches = {
  format: 3,
  sql: `
    ALTER TABLE runs ADD COLUMN parent TEXT;
    CREATE INDEX runs_by_parent ON runs (parent, run_id) WHERE parent IS NOT NULL;

    CREATE TABLE batches (
      id TEXT PRIMARY KEY,
      operation TEXT NOT NULL,
      principal TEXT NOT NULL,
      key TEXT,
      state TEXT NOT NULL,
      facts TEXT NOT NULL,
      progress TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      finished_at INTEGER
    ) STRICT;
    CREATE INDEX batches_by_state ON batches (state, id);
    CREATE UNIQUE INDEX batches_by_key ON batches (principal, key) WHERE key IS NOT NULL;

    CREATE TABLE batch_events (
      batch TEXT NOT NULL REFERENCES batches (id),
      seq INTEGER NOT NULL,
      type TEXT NOT NULL,
      at INTEGER NOT NULL,
      data TEXT NOT NULL,
      PRIMARY KEY (batch, seq)
    ) STRICT, WITHOUT ROWID;
  `,
} as const
