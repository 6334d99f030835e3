import assert from 'node:assert/strict'
import type { PtyListener, PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'

export interface FakeSession {
  readonly session: PtySession
  /** Who listens to its output at the moment. */
  readonly listeners: ReadonlySet<PtyListener>
  /** What a program would have written: it is given to all who listen, one after the other. */
  print(text: string): Promise<void>
}

/**
 * A session of 24 x 80 without a program: the test writes its output and says what it does, and what it does not say
 * must not be called.
 *
 * @param before what was written before anybody listens
 */
export function fakeSession(before: string, own: (output: () => Buffer) => Partial<PtySession>): FakeSession {
  const listeners = new Set<PtyListener>()
  let output = Buffer.from(before)
  const unused = () => assert.fail('not used here')
  const session: PtySession = {
    info: {
      id: 'a',
      kind: 'local',
      owner: 'o',
      run_id: 'r',
      target: null,
      command: null,
      term: 'xterm',
      started_at: 0,
      pid: 1,
    },
    size: () => ({ rows: 24, cols: 80 }),
    cursor: () => before.length,
    lastUsed: () => 0,
    write: unused,
    resize: unused,
    signal: unused,
    async read(offset, max = 1e6) {
      return { offset, bytes: output.subarray(offset, offset + max), lost_bytes: 0, end: output.length }
    },
    onData(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    exit: () => null,
    exited: new Promise(() => undefined),
    close: unused,
    ...own(() => output),
  }
  return {
    session,
    listeners,
    async print(text) {
      const bytes = Buffer.from(text)
      const offset = output.length
      output = Buffer.concat([output, bytes])
      for (const listener of listeners) await listener({ bytes, offset })
    },
  }
}
