import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { mhvError } from './errors.ts'
import { BASE_ENVIRONMENT, exec, positional } from './exec.ts'

const folder = mkdtempSync(join(tmpdir(), 'mhv-exec-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const limits = { timeoutMs: 20_000, maxBytes: 65_536 }
const sh = (script: string, more: object = {}) => exec({ program: 'sh', args: ['-c', script], ...limits, ...more })
const node = (script: string, more: object = {}) =>
  exec({ program: process.execPath, args: ['-e', script], ...limits, ...more })

async function alive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0)
    // A zombie that nobody reaps is not alive.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

async function waitFor<T>(look: () => T | undefined | false): Promise<T> {
  for (let tries = 0; tries < 500; tries += 1) {
    const found = look()
    if (found) return found
    await sleep(10)
  }
  throw new Error('did not come')
}

function pidIn(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8')) || undefined
  } catch {
    return undefined
  }
}

test('runs a program: output, exit code, duration', async () => {
  const result = await sh('echo out; echo err >&2; exit 3')
  assert.equal(result.stdout, 'out\n')
  assert.equal(result.stderr, 'err\n')
  assert.equal(result.exit_code, 3)
  assert.equal(result.signal, null)
  assert.equal(result.dropped_bytes, 0)
  assert.ok(result.duration_ms >= 0 && result.duration_ms < 20_000)
})

test('arguments arrive as they are: no shell reads them', async () => {
  const args = ['$(id)', '`id`', '; echo x', '*', '', "a'b", 'two\nlines', '--']
  const script = 'process.stdout.write(JSON.stringify(process.argv.slice(1)))'
  const result = await exec({ program: process.execPath, args: ['-e', script, '--', ...args], ...limits })
  assert.deepEqual(JSON.parse(result.stdout), args)
})

test('a program killed by a signal says which', async () => {
  const result = await sh('kill -9 $$')
  assert.equal(result.exit_code, null)
  assert.equal(result.signal, 'SIGKILL')
})

test('standard input is what was given, and empty without it; a program that does not read it is no failure', async () => {
  assert.equal((await sh('cat', { stdin: 'hello' })).stdout, 'hello')
  assert.equal((await sh('cat')).stdout, '')
  assert.equal((await sh('exit 0', { stdin: 'x'.repeat(5_000_000) })).exit_code, 0)
})

test('the environment is the short base and what was given, nothing else', async () => {
  process.env.MHV_TEST_LEAK = 'leaked'
  try {
    const result = await node('process.stdout.write(JSON.stringify(process.env))', { env: { MINE: 'yes' } })
    // Node itself hands this one on while coverage is measured.
    const names = Object.keys(JSON.parse(result.stdout)).filter((name) => name !== 'NODE_V8_COVERAGE')
    assert.ok(names.includes('MINE'))
    assert.deepEqual(
      names.filter((name) => name !== 'MINE' && !(BASE_ENVIRONMENT as readonly string[]).includes(name)),
      [],
    )
  } finally {
    delete process.env.MHV_TEST_LEAK
  }
})

const needsProc = { skip: process.platform !== 'linux' && 'needs /proc' }

test(
  'a child inherits no descriptor, not even one that was handed to this process without close-on-exec',
  needsProc,
  async () => {
    const file = join(folder, 'private')
    writeFileSync(file, 'x')
    const url = JSON.stringify(new URL('./exec.ts', import.meta.url).href)
    const inner = `import { exec } from ${url}; import { openSync } from 'node:fs'; openSync(${JSON.stringify(file)}, 'r')
    const script = 'ls -l /proc/$$/fd'
    process.stdout.write((await exec({ program: 'sh', args: ['-c', script], timeoutMs: 5000, maxBytes: 10000 })).stdout)`
    const innerFile = join(folder, 'inner.mjs')
    writeFileSync(innerFile, inner)
    // The shell opens 200 without close-on-exec: above what Node itself marks when it starts.
    const program = [process.execPath, innerFile].map((word) => `'${word}'`).join(' ')
    const result = await exec({ program: 'bash', args: ['-c', `exec 200<'${file}'; ${program}`], ...limits })
    const lines = result.stdout.trim().split('\n')
    assert.ok(lines.length >= 3, result.stderr)
    assert.deepEqual(
      lines.filter((line) => / (\d+) -> /.test(line) && !/ [012] -> | -> \/dev\/null$/.test(line)),
      [],
    )
  },
)

test('output is bounded: head and tail are kept, the middle is counted', async () => {
  const result = await node(
    'process.stdout.write("H".repeat(1000)); process.stdout.write("m".repeat(500000)); process.stdout.write("T".repeat(1000))',
    { maxBytes: 2000 },
  )
  assert.equal(result.dropped_bytes, 500_000)
  assert.equal(result.stdout, `${'H'.repeat(1000)}\n[500000 bytes are missing here]\n${'T'.repeat(1000)}`)
})

test('output that is not UTF-8 is said to be so', async () => {
  assert.equal((await sh('printf "\\377\\376"')).utf8, false)
  assert.equal((await sh('printf "gr\\303\\274n"')).utf8, true)
})

test('what cannot be started says so, and that nothing was changed', async () => {
  writeFileSync(join(folder, 'plain.txt'), 'x', { mode: 0o644 })
  const cases = [
    [{ program: 'no-such-program-here' }, 'MHV_EXEC_NOT_FOUND'],
    [{ program: join(folder, 'plain.txt') }, 'MHV_EXEC_NOT_FOUND'],
    [{ program: folder }, 'MHV_EXEC_NOT_FOUND'],
    [{ program: 'true', cwd: join(folder, 'missing') }, 'MHV_EXEC_NOT_FOUND'],
    [{ program: 'true', args: ['x'.repeat(4_000_000)] }, 'MHV_EXEC_ARGUMENT'],
    [{ program: 'true', args: ['a\0b'] }, 'MHV_EXEC_ARGUMENT'],
    [{ program: 'tr\0ue' }, 'MHV_EXEC_ARGUMENT'],
    [{ program: '' }, 'MHV_EXEC_ARGUMENT'],
    [{ program: 'true', env: { A: 'x\0y' } }, 'MHV_EXEC_ARGUMENT'],
    [{ program: 'true', env: { 'A=B': 'x' } }, 'MHV_EXEC_ARGUMENT'],
  ] as const
  for (const [options, code] of cases) {
    await assert.rejects(exec({ ...limits, ...options }), (error: { code: string; spec: { phase: string } }) => {
      assert.equal(error.code, code)
      assert.equal(error.spec.phase, 'before-effect')
      return true
    })
  }
  await assert.rejects(exec({ ...limits, program: 'true', cwd: join(folder, 'missing') }), /working directory/)
})

test('positional refuses what a program would read as an option', () => {
  assert.equal(positional('web1'), 'web1')
  for (const value of ['-oProxyCommand=id', '--flags-file', '-', 'a\0b']) {
    assert.throws(() => positional(value), { code: 'MHV_EXEC_ARGUMENT' })
  }
})

test('at the deadline the whole group is ended, grandchildren too', async () => {
  const pidFile = join(folder, 'grandchild')
  const began = Date.now()
  await assert.rejects(sh(`sleep 600 & echo $! > ${pidFile}; wait`, { timeoutMs: 500 }), { code: 'MHV_EXEC_TIMEOUT' })
  assert.ok(Date.now() - began < 5_000)
  assert.equal(await alive(pidIn(pidFile) as number), false)
})

test('what ignores TERM is killed after the grace', async () => {
  const pidFile = join(folder, 'stubborn')
  const began = Date.now()
  const script = `trap '' TERM; echo $$ > ${pidFile}; while :; do sleep 0.05; done`
  await assert.rejects(sh(script, { timeoutMs: 400, killGraceMs: 300 }), { code: 'MHV_EXEC_TIMEOUT' })
  assert.ok(Date.now() - began >= 650, 'the grace was given')
  assert.equal(await alive(pidIn(pidFile) as number), false)
})

test('a leader that goes at TERM does not save a member that ignores it', async () => {
  const pidFile = join(folder, 'member')
  const script = `(trap '' TERM; while :; do sleep 0.05; done) & echo $! > ${pidFile}; wait`
  await assert.rejects(sh(script, { timeoutMs: 400, killGraceMs: 300 }), { code: 'MHV_EXEC_TIMEOUT' })
  assert.equal(await alive(pidIn(pidFile) as number), false)
})

test('an abort ends the group and throws the reason of the signal', async () => {
  const pidFile = join(folder, 'aborted')
  const controller = new AbortController()
  const reason = mhvError('MHV_RUN_CANCELLED', 'cancelled by a test')
  const run = sh(`echo $$ > ${pidFile}; exec sleep 600`, { signal: controller.signal })
  const settled = assert.rejects(run, (error) => error === reason)
  const pid = await waitFor(() => pidIn(pidFile))
  controller.abort(reason)
  await settled
  assert.equal(await alive(pid), false)
})

test('a signal that was aborted before starts nothing', async () => {
  const file = join(folder, 'never')
  const reason = mhvError('MHV_RUN_CANCELLED', 'before')
  await assert.rejects(sh(`touch ${file}`, { signal: AbortSignal.abort(reason) }), (error) => error === reason)
  assert.throws(() => readFileSync(file))
})

test('a daemon that keeps the pipe open holds nobody up', async () => {
  const pidFile = join(folder, 'daemon')
  const daemon = `require('node:child_process').spawn('sleep', ['600'], { detached: true, stdio: 'inherit' })`
  const script = `const c = ${daemon}; require('node:fs').writeFileSync(${JSON.stringify(pidFile)}, String(c.pid)); console.log('ready'); c.unref()`
  const began = Date.now()
  try {
    const result = await node(script)
    assert.equal(result.exit_code, 0)
    assert.equal(result.stdout, 'ready\n')
    assert.ok(Date.now() - began < 10_000, 'long before the deadline')
  } finally {
    process.kill(pidIn(pidFile) as number, 'SIGKILL')
  }
})

test('a daemon that writes on and on is left at the deadline, and what the program did stands', async () => {
  const pidFile = join(folder, 'chatty')
  const script = `setsid sh -c 'echo $$ > ${pidFile}; while :; do echo more; sleep 0.1; done' & exit 4`
  const began = Date.now()
  try {
    const result = await sh(script, { timeoutMs: 2_500 })
    assert.equal(result.exit_code, 4)
    assert.ok(Date.now() - began < 6_000)
  } finally {
    process.kill(pidIn(pidFile) as number, 'SIGKILL')
  }
})

test('groups that still run are ended when this process exits', async () => {
  const pidFile = join(folder, 'orphan')
  const url = JSON.stringify(new URL('./exec.ts', import.meta.url).href)
  const child = `import { exec } from ${url}; import { existsSync } from 'node:fs';
    exec({ program: 'sh', args: ['-c', 'echo $$ > ${pidFile}.tmp; mv ${pidFile}.tmp ${pidFile}; exec sleep 600'], timeoutMs: 60000, maxBytes: 10 });
    setInterval(() => { if (existsSync('${pidFile}')) process.exit(0) }, 20)`
  const result = await exec({ program: process.execPath, args: ['--input-type=module', '-e', child], ...limits })
  assert.equal(result.exit_code, 0, result.stderr)
  const pid = pidIn(pidFile) as number
  for (let tries = 0; tries < 100 && (await alive(pid)); tries += 1) await sleep(20)
  assert.equal(await alive(pid), false)
})

test('many at once keep their outputs apart', async () => {
  const results = await Promise.all(Array.from({ length: 12 }, (_, index) => sh(`echo ${index}`)))
  assert.deepEqual(
    results.map((result) => result.stdout.trim()),
    results.map((_, index) => String(index)),
  )
})
