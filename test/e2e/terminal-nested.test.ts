import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { makeUser, type SystemUser, userMissing } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { filesWith, type TerminalInstance, terminalInstance } from '../helpers/terminal-instance.ts'

/** What the terminal has to be good for, on the real programs: by its operations, here and on a host over SSH. */

const skip = sshdMissing() ?? userMissing() ?? false
const PASSWORD = 'mule-lantern-orbit-7'

let sshd: Sshd
let user: SystemUser
let here: TerminalInstance
before(async () => {
  if (skip) return
  sshd = await startSshd({ config: ['PasswordAuthentication yes'] })
  user = await makeUser({ password: PASSWORD })
  const settings = { secrets: { inner: 'env:INNER_PASSWORD' } }
  here = await terminalInstance({ settings, env: { INNER_PASSWORD: PASSWORD }, sshd, ssh: { kill_grace: 0.5 } })
})
after(async () => {
  await here?.[Symbol.asyncDispose]()
  await user?.remove()
  await sshd?.stop()
})

for (const where of ['local', 'over SSH'] as const) {
  const start = async (command: string, more: object = {}): Promise<string> => {
    const envelope = where === 'local' ? {} : { target: 'box' }
    const { session, kind } = await here.data('start_interactive_session', { command, ...more }, envelope)
    assert.equal(kind, where === 'local' ? 'local' : 'remote')
    return session
  }
  const keys = (session: string, typed: unknown, more: object = {}) =>
    here.data('send_keystrokes', { session, keys: typed, ...more })
  const until = async (session: string, wanted: object) => {
    const { outcome } = await here.data('wait', { session, seconds: 15, ...wanted })
    if (outcome === 'timeout') assert.fail(`${JSON.stringify(wanted)} is not on\n${await screen(session)}`)
  }
  const screen = async (session: string) => ((await here.data('snapshot', { session })).lines as string[]).join('\n')
  const ended = async (session: string) => {
    const { exit } = await here.data('wait', { session, exit: true, seconds: 15 })
    await here.data('close', { session })
    return exit
  }

  suite(`real programs, ${where}`, { skip, timeout: 120_000 }, () => {
    test('vim: a file is edited, saved and has what was typed', async () => {
      const file = join(here.folder, `note ${where}.txt`)
      const session = await start(`vim -u NONE -i NONE -N '${file}'`)
      await until(session, { text: 'note' })
      await keys(session, ['i', 'first line\nlast', 'Up', 'Home', 'The ', 'Escape'])
      await until(session, { regex: '^The first line\nlast' })
      await keys(session, ['G', 'o', { paste: 'pasted ä宽\nmore' }, 'Escape', '/first\r', 'cw', 'only', 'Escape'])
      await until(session, { regex: '^The only line\nlast\npasted ä宽\nmore' })
      assert.equal((await here.data('snapshot', { session })).alternate, true)
      await keys(session, [':wq', 'Enter'])
      assert.deepEqual(await ended(session), { exit_code: 0, signal: null, reason: 'exited' })
      assert.equal(await readFile(file, 'utf8'), 'The only line\nlast\npasted ä宽\nmore\n')
    })

    test('top: it runs, asks, follows the size, and ends', async () => {
      const session = await start('top -d 0.5')
      await until(session, { regex: 'PID USER .*COMMAND' })
      await keys(session, 'u')
      await until(session, { text: 'Which user' })
      await keys(session, ['root', 'Enter'])
      await here.data('resize_terminal', { session, rows: 12, cols: 110 })
      await until(session, { regex: 'PID USER .*COMMAND' })
      assert.equal((await screen(session)).split('\n').length, 12)
      await keys(session, 'q')
      assert.deepEqual(await ended(session), { exit_code: 0, signal: null, reason: 'exited' })
    })

    test('TTY-08: a nested ssh with a password, which is found nowhere on disk and in no answer', async () => {
      const session = await start('bash --norc')
      await until(session, { prompt: true })
      const refused = await here.call('send_keystrokes', { session, keys: [{ secret: 'inner' }] })
      assert.equal(refused.error_code, 'MHV_TERMINAL_ECHO', 'not at a prompt')
      const options = `-F none -o UserKnownHostsFile=${sshd.knownHostsFile} -o PubkeyAuthentication=no`
      const typed = await keys(session, `ssh ${options} -p ${sshd.port} ${user.name}@127.0.0.1\n`, { delay_ms: 0 })
      await until(session, { regex: `${user.name}@127.0.0.1's password: *$`, after: typed.cursor })
      await keys(session, [{ secret: 'inner' }, 'Enter'])
      await until(session, { prompt: true, after: typed.cursor })
      const inner = await here.data('run', { session, command: 'id -un; tty; false' })
      assert.match(inner.output, new RegExp(`^${user.name}\n/dev/pts/`))
      assert.equal(inner.exit_code, 1)
      await here.data('resize_terminal', { session, rows: 31, cols: 99 })
      const size = await here.data('run', { session, command: 'sleep 0.3; stty size' })
      assert.equal(size.output, '31 99\n', 'TTY-05: through both terminals')
      // The program on the other side has the password, and shows it: only masked.
      await here.data('run', {
        session,
        command: 'stty -echo; printf "Again: "; read -r X; stty echo; echo',
        seconds: 1,
      })
      // The terminal of the inner host cannot be asked: between it and us is one that is raw.
      const unsure = await here.call('send_keystrokes', { session, keys: [{ secret: 'inner' }] })
      assert.equal(unsure.error_code, 'MHV_TERMINAL_ECHO')
      const again = await keys(session, [{ secret: 'inner' }, 'Enter'], { secret_may_show: true })
      await until(session, { prompt: true, after: again.cursor })
      const shown = await here.call('run', { session, command: 'printf "%s" "$X" | wc -c; echo "it is $X"' })
      assert.equal(shown.output, `${PASSWORD.length}\nit is [redacted]\n`)
      const seen = await here.call('snapshot', { session, style: true, history: 100 })
      const all = await here.call('read', { session })
      await keys(session, 'exit\n')
      await until(session, { text: 'Connection to 127.0.0.1 closed' })
      await here.data('run', { session, command: 'exit 0' })
      await ended(session)
      const replayed = await here.call('replay', { recording: session, format: 'txt' })
      assert.match(replayed.output ?? '', /it is \[redacted\]/)
      assert.ok(![shown, seen, all, replayed].some((answer) => JSON.stringify(answer).includes(PASSWORD)))
      await here.leave()
      try {
        assert.deepEqual(await filesWith(here.folder, PASSWORD), [])
        assert.ok((await filesWith(here.folder, '[secret inner]')).some((file) => file.endsWith('.cast.gz')))
      } finally {
        await here.again()
      }
    })
  })
}
