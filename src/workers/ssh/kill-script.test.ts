import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { carrying, endAll, isRunning, sessionOf, until } from '../../../test/helpers/processes.ts'
import { killScript } from './kill-script.ts'
import { parseAnswer } from './remote-kill.ts'
import { newMarker } from './start-report.ts'

const skip = process.platform === 'linux' ? false : 'needs /proc'
const SHELLS = [['dash'], ['bash'], ['busybox', 'sh']].filter(
  ([program]) => spawnSync(program as string, ['-c', 'exit 0']).error === undefined,
) as [string, ...string[]][]

const folder = mkdtempSync(join(tmpdir(), 'mhv-kill-'))
const oddName = join(folder, 'a) R (b c')
copyFileSync(execFileSync('sh', ['-c', 'command -v sleep'], { encoding: 'utf8' }).trim(), oddName)
after(() => rmSync(folder, { recursive: true }))

let runs = 0

/** A command as sshd would run it: a shell that leads a session of its own. */
async function start(command: string, expected: number) {
  const runId = `RUN${process.pid}x${runs++}`
  const marker = newMarker()
  const child = spawn('dash', ['-c', `export MAHAVISHNU_RUN_ID=${runId}\n: ${marker}\n${command}`], {
    detached: true,
    stdio: 'ignore',
    env: { PATH: process.env.PATH },
  })
  child.unref()
  const pid = child.pid as number
  await until(() => sessionOf(pid).length >= expected)
  return { pid, runId, marker, end: () => endAll([...sessionOf(pid), ...carrying(runId)]) }
}

function end(shell: readonly string[], facts: Parameters<typeof killScript>[0]): Promise<string> {
  const [program = 'sh', ...args] = shell
  return new Promise((resolve) => {
    const child = spawn(program, [...args, '-c', killScript(facts)], { detached: true })
    let stdout = ''
    child.stdout.on('data', (bytes) => {
      stdout += bytes
    })
    child.once('close', () => resolve(stdout))
  })
}

const answer = (stdout: string, same = true) => parseAnswer({ stdout, stderr: '', exit_code: 0 }, same)

const FAMILY = `(trap '' TERM; sleep 300; sleep 300) &
(sh -c 'sleep 300 & sleep 300' &) &
'${oddName}' 300 &
setsid sleep 301 &
sleep 300`

for (const shell of SHELLS) {
  // Without /proc, every look at a process starts another one: one shell does.
  for (const [how, proc] of [
    ['/proc', undefined],
    ['ps', '/nonexistent'],
  ] as const) {
    if (how === 'ps' && shell !== SHELLS[0]) continue
    for (const known of [true, false]) {
      const title = `SSH-03: ${shell.join(' ')} ends a session by ${how}, ${known ? 'knowing its PID' : 'finding it by its marker'}`
      test(title, { skip }, async () => {
        const { pid, runId, marker, end: cleanUp } = await start(FAMILY, 7)
        try {
          const said = answer(await end(shell, { session: known ? pid : undefined, marker, runId, grace: 0.3, proc }))
          assert.deepEqual(sessionOf(pid), [], 'nothing of the session is left')
          const outside = carrying(runId).filter(isRunning)
          assert.equal(outside.length, 1, 'what made itself a session of its own is left alone')
          const listed = how === '/proc' ? outside.map((left) => ({ pid: left, command: 'sleep' })) : []
          assert.deepEqual(said, {
            remote: how === '/proc' ? 'left' : 'ended',
            left_session: listed,
            still_running: [],
          })
        } finally {
          await cleanUp()
        }
      })
    }
  }
}

test('SSH-03: a session with the same number and no sign of the run is not touched', { skip }, async () => {
  const { pid, runId, end: cleanUp } = await start('sleep 300', 2)
  try {
    for (const [shell, proc] of [
      [['dash'], undefined],
      [['dash'], '/nonexistent'],
      [['busybox', 'sh'], undefined],
    ] as const) {
      const facts = { session: pid, marker: newMarker(), runId: `not-${runId}`, grace: 0.1, proc }
      assert.equal(answer(await end(shell, facts)).remote, 'unknown')
    }
    assert.equal(sessionOf(pid).length, 2)
  } finally {
    await cleanUp()
  }
})

test('SSH-03: a shell that has become its last command is known by its environment', { skip }, async () => {
  const { pid, runId, marker, end: cleanUp } = await start('exec sleep 300', 1)
  try {
    await until(() => carrying(marker).length === 0)
    const said = answer(await end(['dash'], { session: pid, marker, runId, grace: 0.1 }))
    assert.deepEqual(said, { remote: 'ended', left_session: [], still_running: [] })
    assert.equal(isRunning(pid), false)
  } finally {
    await cleanUp()
  }
})

test('a command that ends at TERM is not waited for longer than that', { skip }, async () => {
  const { pid, runId, marker, end: cleanUp } = await start('sleep 300', 2)
  try {
    const started = performance.now()
    await end(['dash'], { session: pid, marker, runId, grace: 30 })
    assert.ok(performance.now() - started < 10_000)
    assert.deepEqual(sessionOf(pid), [])
  } finally {
    await cleanUp()
  }
})

test('nothing found is the end over the same connection, and unknown over another one', { skip }, async () => {
  const said = await end(['dash'], { session: undefined, marker: newMarker(), runId: 'none', grace: 0 })
  assert.equal(answer(said).remote, 'ended')
  assert.equal(answer(said, false).remote, 'unknown')
  assert.equal(answer('').remote, 'unknown')
})
