import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { fillDisk, noSmallDisk, smallDisk } from '../../test/helpers/disk.ts'
import { lockInstance } from './lock.ts'

const LOCK = join(import.meta.dirname, 'lock.ts')

let folder: string
const children = new Set<ChildProcess>()

/** A process of its own that takes the lock, says so, and holds it until it is killed. */
async function holderProcess(): Promise<{ child: ChildProcess; said: string }> {
  const program = `
    import { lockInstance } from ${JSON.stringify(LOCK)}
    try {
      globalThis.lock = await lockInstance(process.argv[1], 'the other process')
      process.stdout.write('locked')
      setInterval(() => globalThis.gc?.(), 20)
    } catch (error) {
      process.stdout.write(error.code + ' ' + error.message)
    }`
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', program, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.add(child)
  const said = await new Promise<string>((resolve) =>
    child.stdout?.once('data', (bytes: Buffer) => resolve(`${bytes}`)),
  )
  return { child, said }
}

async function kill(child: ChildProcess): Promise<void> {
  children.delete(child)
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGKILL')
  await closed
}

suite('the lock of an instance folder', () => {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mhv-lock-'))
  })
  afterEach(async () => {
    for (const child of children) await kill(child)
    await rm(folder, { recursive: true })
  })

  test('a second process is refused and told who holds it', async () => {
    const { child, said } = await holderProcess()
    assert.equal(said, 'locked')
    await assert.rejects(lockInstance(folder, 'test'), (error: Error & { code?: string; details?: unknown }) => {
      assert.equal(error.code, 'MHV_INSTANCE_LOCKED')
      assert.ok(error.message.includes(`process ${child.pid}`), error.message)
      assert.ok(error.message.includes('the other process'), error.message)
      assert.equal((error.details as { holder: { pid: number } }).holder.pid, child.pid)
      return true
    })
    // Negative control: in another folder nobody is in the way.
    const other = await mkdtemp(join(tmpdir(), 'mhv-lock-'))
    const lock = await lockInstance(other, 'test')
    lock.release()
    await rm(other, { recursive: true })
  })

  test('it is refused the other way round too, with this process as the holder', async () => {
    const lock = await lockInstance(folder, 'this test')
    const { said } = await holderProcess()
    assert.match(said, new RegExp(`^MHV_INSTANCE_LOCKED .*process ${process.pid} .*this test`))
    lock.release()
    const after = await holderProcess()
    assert.equal(after.said, 'locked')
  })

  test('it is free when its holder was killed with SIGKILL', async () => {
    const { child } = await holderProcess()
    await kill(child)
    const lock = await lockInstance(folder, 'after the crash')
    assert.match(await readFile(join(folder, 'instance.holder.json'), 'utf8'), /after the crash/)
    lock.release()
  })

  test('the name of a dead holder is not taken for the one who holds it now', async () => {
    const lock = await lockInstance(folder, 'this test')
    const { child } = await holderProcess()
    await kill(child)
    const dead = { pid: child.pid, host: (await import('node:os')).hostname(), doing: 'dead', since: '' }
    await writeFile(join(folder, 'instance.holder.json'), JSON.stringify(dead))
    await assert.rejects(lockInstance(folder, 'test'), { message: /is held by another process$/ })
    await writeFile(join(folder, 'instance.holder.json'), '{"half')
    await assert.rejects(lockInstance(folder, 'test'), { message: /is held by another process$/ })
    lock.release()
  })

  test('within one process it is held once, and given back once', async () => {
    const lock = await lockInstance(folder, 'first')
    await assert.rejects(lockInstance(folder, 'second'), { code: 'MHV_INSTANCE_LOCKED', message: /first/ })
    lock.release()
    lock.release()
    const again = await lockInstance(folder, 'third')
    lock.release()
    await assert.rejects(lockInstance(folder, 'fourth'), { code: 'MHV_INSTANCE_LOCKED' })
    again.release()
    assert.deepEqual((await readdir(folder)).sort(), ['instance.holder.json', 'instance.lock'])
  })

  test('a folder that cannot be used is not called locked', async () => {
    await assert.rejects(lockInstance(join(folder, 'missing'), 'test'), { code: 'MHV_INSTANCE_INVALID' })
    await writeFile(join(folder, 'instance.lock'), 'this is no database, but long enough to look at'.repeat(100))
    await assert.rejects(lockInstance(folder, 'test'), { code: 'MHV_INSTANCE_INVALID' })
    await rm(join(folder, 'instance.lock'))
    // Where the name of the holder cannot be written, the lock is given back.
    await mkdir(join(folder, 'instance.holder.json'))
    await assert.rejects(lockInstance(folder, 'test'), { code: 'MHV_INSTANCE_INVALID' })
    await rm(join(folder, 'instance.holder.json'), { recursive: true })
    const lock = await lockInstance(folder, 'test')
    lock.release()
    assert.deepEqual((await readdir(folder)).sort(), ['instance.holder.json', 'instance.lock'])
  })

  test('on a full disk says so, and is taken when there is room again', { skip: noSmallDisk }, async () => {
    await using disk = await smallDisk(8)
    const filler = await fillDisk(disk.folder, 0)
    await assert.rejects(lockInstance(disk.folder, 'up'), { code: 'MHV_JOURNAL_FULL' })
    await rm(filler)
    const lock = await lockInstance(disk.folder, 'up')
    lock.release()
  })
})
