import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createCgroup } from '../../src/runtime/worker-process/cgroup.ts'
import { endTree } from '../../src/runtime/worker-process/process-tree.ts'
import type { PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'
import { readText, type TerminalFolder, terminalFolder, waitUntil } from '../helpers/terminal-sessions.ts'

const CHILD = fileURLToPath(new URL('../fixtures/terminal-child.ts', import.meta.url))

let folder: TerminalFolder
before(async () => {
  folder = await terminalFolder()
})
after(() => folder?.end())

test('TTY-07 sessions go on when the main process is killed, and are found again with all that is known of them', async () => {
  const main = spawn(process.execPath, [CHILD, folder.path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(main.stdout, 'data')) as [Buffer]
  const [shellId, countingId, shortId] = JSON.parse(String(line)) as [string, string, string]
  await delay(200)
  main.kill('SIGKILL')
  await once(main, 'exit')
  // The counting session goes on without anybody who reads, and one ends meanwhile.
  await delay(2_500)

  const sessions = await folder.sessions()
  const found: PtySession[] = []
  sessions.onFound((session) => found.push(session))
  assert.deepEqual(found.map(({ info }) => info.id).sort(), [shellId, countingId, shortId].sort())

  const shell = sessions.get(shellId)
  assert.deepEqual([shell.info.owner, shell.info.run_id, shell.info.term], ['user:first', 'run-1', 'xterm'])
  assert.equal(shell.exit(), null)
  assert.equal(shell.cursor(), 0)
  const output = readText(shell)
  await shell.write(Buffer.from('still here\n'))
  await waitUntil(() => output.text().includes('<still here>'), 5_000, 'the shell answers')
  assert.match(output.text(), /^ready\r\n/)
  await shell.write(Buffer.from('\x04'))
  assert.equal((await shell.exited).exit_code, 5)

  const short = sessions.get(shortId)
  const late = readText(short)
  const { exit_code, reason } = await short.exited
  assert.deepEqual({ exit_code, reason }, { exit_code: 7, reason: 'exited' })
  await waitUntil(() => late.text() === 'late\r\n', 5_000, 'what it wrote while nobody was there is given')

  // All of its 15 MB were written; the last of them are there, from the first whole line on without a gap.
  const counting = sessions.get(countingId)
  assert.ok(counting.cursor() > 10_000_000, `${counting.cursor()} bytes were let go`)
  const tail = readText(counting)
  await waitUntil(() => tail.text().endsWith('\r\n2000000\r\n'), 5_000, 'the end of its output')
  const numbers = tail.text().split('\r\n').slice(1, -1).map(Number)
  assert.ok(numbers.every((number, at) => at === 0 || number === (numbers[at - 1] as number) + 1))

  for (const session of sessions.list()) await session.close()
  await sessions.disconnect()
})

test("TTY-07 sessions go on when the worker's own process is ended with all that is below it and its control group", async () => {
  const own = await terminalFolder()
  // It starts when it is told to, as a worker's process is in its group before it does anything.
  const script = 'read go; exec "$@"'
  const main = spawn('sh', ['-c', script, 'sh', process.execPath, CHILD, own.path], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  })
  const pid = main.pid as number
  const cgroup = createCgroup(`mahavishnu-terminal-${process.pid}-1`, {
    memory_bytes: 512 * 1_048_576,
    cpu_percent: null,
  })
  try {
    cgroup?.add(pid)
    main.stdin.write('go\n')
    const [line] = (await once(main.stdout, 'data')) as [Buffer]
    const [shellId] = JSON.parse(String(line)) as [string]
    endTree(pid)
    await once(main, 'exit')
    cgroup?.end()
    await delay(100)
    const sessions = await own.sessions()
    const shell = sessions.get(shellId)
    const output = readText(shell)
    await shell.write(Buffer.from('still here\n'))
    await waitUntil(() => output.text().includes('<still here>'), 5_000, 'the shell answers')
    assert.equal(shell.exit(), null)
  } finally {
    await own.end()
    cgroup?.end()
  }
})
