/**
 * Format 1.
 *
 * - `runs.id` is the table's own number; events and output refer to it, since it takes three bytes where a run id
 *   takes 26. Everything outside the store says `run_id`.
 * - A row of `runs` has an end exactly when `finished_at` is not null.
 * - Every index ends in `run_id`: run ids are ULIDs, so each filter yields its runs newest first without sorting.
 * - `completed` is in no index by status: it is most of the journal, and one finds it by walking the runs.
 * - A key without a target has target '' (a primary key takes no null).
 * - `audit.seq` and `events.seq` rise by one.
 */
export const journal = {
  format: 1,
  sql: `
    CREATE TABLE runs (
      id INTEGER PRIMARY KEY,
      run_id TEXT NOT NULL UNIQUE,
      worker TEXT NOT NULL,
      operation TEXT NOT NULL,
      target TEXT,
      tier TEXT,
      worker_id TEXT NOT NULL,
      principal TEXT NOT NULL,
      surface TEXT NOT NULL,
      effect TEXT NOT NULL,
      priority TEXT NOT NULL,
      reason TEXT,
      input TEXT NOT NULL,
      accepted_at INTEGER NOT NULL,
      deadline INTEGER NOT NULL,
      status TEXT NOT NULL,
      started_at INTEGER,
      effect_certainty TEXT,
      output TEXT,
      data TEXT,
      error TEXT,
      error_code TEXT,
      error_details TEXT,
      exit_code INTEGER,
      attempts INTEGER,
      finished_at INTEGER
    ) STRICT;
    CREATE INDEX runs_by_worker ON runs (worker, run_id);
    CREATE INDEX runs_by_operation ON runs (operation, run_id);
    CREATE INDEX runs_by_target ON runs (target, run_id);
    CREATE INDEX runs_by_principal ON runs (principal, run_id);
    CREATE INDEX runs_by_status ON runs (status, run_id) WHERE status <> 'completed';
    CREATE INDEX runs_by_time ON runs (accepted_at, run_id);

    CREATE TABLE events (
      run INTEGER NOT NULL REFERENCES runs (id),
      seq INTEGER NOT NULL,
      type TEXT NOT NULL,
      at INTEGER NOT NULL,
      data TEXT NOT NULL,
      PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE output (
      id INTEGER PRIMARY KEY,
      run INTEGER NOT NULL REFERENCES runs (id),
      seq INTEGER NOT NULL,
      stream TEXT NOT NULL,
      gap_bytes INTEGER NOT NULL,
      bytes BLOB NOT NULL,
      UNIQUE (run, seq)
    ) STRICT;

    CREATE TABLE idempotency_keys (
      principal TEXT NOT NULL,
      operation TEXT NOT NULL,
      target TEXT NOT NULL,
      key TEXT NOT NULL,
      digest TEXT NOT NULL,
      expires_at INTEGER NOT NULL,
      run INTEGER NOT NULL REFERENCES runs (id),
      PRIMARY KEY (principal, operation, target, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

    CREATE TABLE audit (
      seq INTEGER PRIMARY KEY,
      at INTEGER NOT NULL,
      principal TEXT NOT NULL,
      action TEXT NOT NULL,
      target TEXT,
      decision TEXT NOT NULL,
      rule TEXT,
      run_id TEXT,
      details TEXT NOT NULL
    ) STRICT;

    CREATE TABLE worker_state (
      worker TEXT NOT NULL,
      key TEXT NOT NULL,
      value TEXT NOT NULL,
      PRIMARY KEY (worker, key)
    ) STRICT, WITHOUT ROWID;
  `,
} as const
