import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

const run = promisify(execFile)
const CHILD = join(import.meta.dirname, '../fixtures/journal-first-child.ts')

/** `4711 1700000000.123456 fdatasync(20) = 0 <0.000210>`, or its second half when another thread came in between. */
const SYNCED = /^\d+ +(?<at>\d+\.\d+) (?:<\.\.\. )?f(?:data)?sync(?:\(\d+\)| resumed>\)) += 0 <(?<took>[\d.]+)>/

/** When each fdatasync of a process was done, in milliseconds since the epoch. */
function syncTimes(trace: string): number[] {
  return trace.split('\n').flatMap((line) => {
    const { at, took } = SYNCED.exec(line)?.groups ?? {}
    if (at === undefined || took === undefined) return []
    // Of a call that was interrupted the time is that of its end already.
    return [(Number(at) + (line.includes('resumed') ? 0 : Number(took))) * 1000]
  })
}

const missing = sshdMissing() ?? (existsSync('/usr/bin/strace') ? undefined : 'needs strace (Debian: strace)')

suite('CORE-01: in the journal, on stable storage, before anything acts', { skip: missing ?? false }, () => {
  let sshd: Sshd
  before(async () => {
    sshd = await startSshd()
  })
  after(() => sshd.stop())

  /** How many fdatasyncs were done between the call and the moment at which the far side ran the command. */
  async function syncsBeforeEffect(mode: 'full' | 'off'): Promise<number> {
    const folder = await sshInstance(sshd)
    const [trace, file] = [join(folder, 'trace'), join(folder, 'seen')]
    const strace = ['-f', '-ttt', '-T', '-qq', '-e', 'trace=fdatasync,fsync', '-o', trace]
    const { stdout } = await run('strace', [...strace, process.execPath, CHILD, folder, file, mode], {
      timeout: 60_000,
    })
    const { asked, status, error } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}')
    assert.equal(status, 'completed', error)
    const seen = Number(await readFile(file, 'utf8')) * 1000
    assert.ok(seen > asked, 'the far side saw the command after it was asked for')
    const times = syncTimes(await readFile(trace, 'utf8'))
    await rm(folder, { recursive: true, force: true })
    return times.filter((time) => time >= asked && time <= seen).length
  }

  test('an fdatasync of the journal is done before the far side sees the command', async () => {
    assert.ok((await syncsBeforeEffect('full')) >= 1)
  })

  test('negative control: with synchronous=OFF there is none', async () => {
    assert.equal(await syncsBeforeEffect('off'), 0)
  })
})
