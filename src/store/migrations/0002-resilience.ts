/**
 * Format 2.
 *
 * - `instance` has one row. Its `fence` rises by one with every opening for writing; `runs.fence` is that of the
 *   process that took the run. Runs of format 1 have 0, which no opening has.
 * - A run has at most one dead letter, and names it; a letter that goes is forgotten there too.
 * - `dead_letter_totals` has one row, kept by triggers: the limits are looked at without counting the letters.
 * - `outbox.id` is a ULID, so the entries of a destination are in its order.
 * - `runs_by_time` goes: runs are walked by their id, which rises with the time, and the index cost every run a write.
 */
export const resilience = {
  format: 2,
  sql: `
    CREATE TABLE instance (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      fence INTEGER NOT NULL
    ) STRICT;
    INSERT INTO instance (id, fence) VALUES (1, 0);

    ALTER TABLE runs ADD COLUMN replay_of TEXT;
    ALTER TABLE runs ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN dead_letter TEXT;
    DROP INDEX runs_by_time;

    CREATE TABLE dead_letters (
      id TEXT PRIMARY KEY,
      run INTEGER NOT NULL UNIQUE REFERENCES runs (id),
      worker TEXT NOT NULL,
      operation TEXT NOT NULL,
      target TEXT,
      principal TEXT NOT NULL,
      error_code TEXT,
      error TEXT,
      effect TEXT NOT NULL,
      effect_certainty TEXT NOT NULL,
      state TEXT NOT NULL,
      replays INTEGER NOT NULL,
      max_replays INTEGER NOT NULL,
      policy TEXT NOT NULL,
      next_at INTEGER,
      last_run_id TEXT,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      bytes INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX dead_letters_by_state ON dead_letters (state, id);
    CREATE INDEX dead_letters_due ON dead_letters (next_at) WHERE state = 'open' AND next_at IS NOT NULL;

    CREATE TABLE dead_letter_totals (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      count INTEGER NOT NULL,
      bytes INTEGER NOT NULL,
      dropped INTEGER NOT NULL,
      rejected INTEGER NOT NULL
    ) STRICT;
    INSERT INTO dead_letter_totals (id, count, bytes, dropped, rejected) VALUES (1, 0, 0, 0, 0);
    CREATE TRIGGER dead_letters_added AFTER INSERT ON dead_letters BEGIN
      UPDATE dead_letter_totals SET count = count + 1, bytes = bytes + NEW.bytes;
      UPDATE runs SET dead_letter = NEW.id WHERE id = NEW.run;
    END;
    CREATE TRIGGER dead_letters_resized AFTER UPDATE OF bytes ON dead_letters BEGIN
      UPDATE dead_letter_totals SET bytes = bytes - OLD.bytes + NEW.bytes;
    END;
    CREATE TRIGGER dead_letters_removed AFTER DELETE ON dead_letters BEGIN
      UPDATE dead_letter_totals SET count = count - 1, bytes = bytes - OLD.bytes;
      UPDATE runs SET dead_letter = NULL WHERE id = OLD.run;
    END;

    CREATE TABLE outbox (
      id TEXT PRIMARY KEY,
      destination TEXT NOT NULL,
      kind TEXT NOT NULL,
      payload TEXT NOT NULL,
      at INTEGER NOT NULL,
      dedupe_key TEXT,
      attempts INTEGER NOT NULL,
      next_at INTEGER NOT NULL,
      error TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX outbox_by_destination ON outbox (destination, id);
    CREATE UNIQUE INDEX outbox_by_dedupe_key ON outbox (destination, dedupe_key) WHERE dedupe_key IS NOT NULL;
  `,
} as const
