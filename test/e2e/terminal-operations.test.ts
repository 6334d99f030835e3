import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import {
  createFrameReader,
  frameBytes,
  STREAM_FORMAT,
  streamKeyDigest,
  streamSocketPath,
} from '../../src/core/terminal-stream.ts'
import { filesWith, type TerminalInstance, terminalInstance } from '../helpers/terminal-instance.ts'

const SECRET = 'wrong-donkey-capacitor'
const stranger = { id: 'agent:stranger', kind: 'agent' } as const
const AI = join(import.meta.dirname, '../fixtures/terminal/ai-cli.mjs')

let here: TerminalInstance
before(async () => {
  const ai = { command: [process.execPath, AI] }
  here = await terminalInstance({
    settings: {
      secrets: { box: 'env:BOX_PASSWORD' },
      ai_clis: { scripted: ai, argument: { command: [...ai.command, '--argument'], prompt: 'argument' } },
    },
    env: { BOX_PASSWORD: SECRET },
  })
})
after(() => here?.[Symbol.asyncDispose]())

async function start(command: string | undefined = undefined, more: object = {}): Promise<string> {
  const { session } = await here.data('start_interactive_session', {
    ...(command === undefined ? {} : { command }),
    ...more,
  })
  return session as string
}

async function eventually(check: () => Promise<boolean>, what: string): Promise<void> {
  for (let waited = 0; !(await check()); waited += 20) {
    assert.ok(waited < 5_000, what)
    await delay(20)
  }
}

describe('a session', () => {
  test('is started, typed into, waited for, seen, read and closed', async () => {
    const session = await start('bash --norc', { marks: false })
    const typed = await here.data('send_keystrokes', { session, keys: 'echo one$((1+1))\n' })
    const { outcome } = await here.data('wait', { session, text: 'one2', seconds: 10, after: typed.cursor })
    assert.equal(outcome, 'text')
    const { lines } = await here.data('snapshot', { session })
    assert.ok((lines as string[]).includes('one2'))
    const { text, cursor, more } = await here.data('read', { session })
    assert.match(text, /echo one\$\(\(1\+1\)\)\r\n(?:.*\r)?one2\r\n/s)
    assert.equal(more, false)
    assert.equal((await here.data('read', { session, cursor })).text, '')
    await here.data('resize_terminal', { session, rows: 30, cols: 90 })
    const ran = await here.data('run', { session, command: 'stty size; false' })
    assert.deepEqual([ran.output, ran.exit_code, ran.outcome], ['30 90\n', 1, 'done'])
    await here.data('send_keystrokes', { session, keys: 'sleep 60\n' })
    await here.data('wait', { session, stable_ms: 200, seconds: 5 })
    await here.data('send_signal', { session, signal: 2 })
    assert.equal((await here.data('run', { session, command: 'echo back' })).output, 'back\n')
    const { exit } = await here.data('close', { session })
    assert.equal((exit as { reason: string }).reason, 'closed')
    assert.equal((await here.call('snapshot', { session })).error_code, 'MHV_TERMINAL_UNKNOWN')
  })

  test('tells its exit code, and what is left of it can be seen until it is closed', async () => {
    const session = await start("sh -c 'echo bye; exit 7'")
    const { exit } = await here.data('wait', { session, exit: true, seconds: 10 })
    assert.deepEqual(exit, { exit_code: 7, signal: null, reason: 'exited' })
    assert.match((await here.call('snapshot', { session })).output ?? '', /^bye/)
    assert.equal((await here.call('send_keystrokes', { session, keys: 'x' })).error_code, 'MHV_TERMINAL_ENDED')
    await here.data('close', { session })
  })

  test('leaves no file of its shell behind: not one that did not start, nor one that read nothing, nor a process that died', async () => {
    const shells = join(here.folder, 'terminal', 'shells')
    const refused = await here.call('start_interactive_session', { command: 'bash', directory: '/nowhere' })
    assert.equal(refused.error_code, 'MHV_TERMINAL_DIRECTORY')
    assert.deepEqual(await readdir(shells), [])

    const deaf = join(here.folder, 'bash')
    await writeFile(deaf, '#!/bin/sh\nexec sleep 60\n', { mode: 0o700 })
    const session = await start(deaf)
    assert.equal((await readdir(shells)).length, 1)
    await here.data('close', { session })
    await eventually(
      async () => (await readdir(shells)).length === 0,
      'the files of a session that was closed are gone',
    )

    const [old, young] = [join(shells, 's-old'), join(shells, 's-young')]
    for (const folder of [old, young]) await mkdir(folder)
    await writeFile(join(old, 'bashrc'), 'word')
    await utimes(old, new Date(), new Date(Date.now() - 61_000))
    await here.leave()
    await here.again()
    await here.data('list')
    await eventually(
      async () => (await readdir(shells)).join() === 's-young',
      'what a process left that was killed is gone',
    )
    await rm(young, { recursive: true })
  })

  test('TTY-04: is out of reach for another principal, by every operation, and is not even there for him', {
    timeout: 30_000,
  }, async () => {
    const session = await start('cat')
    const calls: readonly (readonly [verb: string, input: object])[] = [
      ['send_keystrokes', { session, keys: 'x' }],
      ['snapshot', { session }],
      ['read', { session }],
      ['wait', { session, stable_ms: 1 }],
      ['run', { session, command: 'x' }],
      ['resize_terminal', { session, rows: 10, cols: 10 }],
      ['send_signal', { session, signal: 9 }],
      ['attach', { session, key_sha256: '0'.repeat(64) }],
      ['close', { session }],
    ]
    const { operations } = here.instance.registry
    const about = operations.filter(({ spec }) => spec.id.startsWith('terminal.') && 'session' in spec.input.shape)
    assert.deepEqual(about.map(({ verb }) => verb).sort(), calls.map(([verb]) => verb).sort())
    // Where one were let in it would wait for what never comes: not for long.
    const ask = (verb: string, input: object) =>
      here.invoke(`terminal.${verb}`, input, { timeout: 3, wait: 5 }, stranger)
    for (const [verb, input] of calls) {
      const refused = await ask(verb, input)
      assert.equal(refused.error_code, 'MHV_TERMINAL_UNKNOWN', verb)
      const unknown = await ask(verb, { ...input, session: 'NOBODY' })
      assert.equal(unknown.error, refused.error, `${verb} says the same of what is not there`)
    }
    assert.deepEqual((await here.call('list', {}, stranger)).data, { sessions: [] })
    const recording = await here.call('replay', { recording: session }, stranger)
    assert.equal(recording.error_code, 'MHV_TERMINAL_RECORDING_UNKNOWN')
    // Nothing of that touched it.
    const { lines } = await here.data('snapshot', { session })
    assert.ok((lines as string[]).every((line) => line === ''))
    await here.data('close', { session })
  })

  test('may be started only with programs of the list, without a shell', async () => {
    await using strict = await terminalInstance({ settings: { commands: ['cat', '/bin/true'] } })
    const code = async (command: string) => (await strict.call('start_interactive_session', { command })).error_code
    assert.equal(await code('cat -n'), null)
    assert.equal(await code('/bin/true'), null)
    assert.equal(await code('bash'), 'MHV_TERMINAL_COMMAND_DENIED')
    assert.equal(await code('/bin/cat'), 'MHV_TERMINAL_COMMAND_DENIED')
    assert.equal(await code('./cat'), 'MHV_TERMINAL_COMMAND_DENIED')
    for (const line of [
      'cat; id',
      'cat $(id)',
      'cat `id`',
      'cat > x',
      'cat | sh',
      'cat & id',
      'cat "$(id)"',
      "cat 'x",
    ]) {
      assert.equal(await code(line), 'MHV_INPUT_INVALID', line)
    }
  })
})

describe('TTY-08: a secret that is typed', () => {
  test('is refused while the terminal echoes, and where nobody can tell', async () => {
    const cat = await start('cat')
    const shell = await start('bash --norc')
    await here.data('wait', { session: shell, prompt: true, seconds: 10 })
    for (const session of [cat, shell]) {
      const refused = await here.call('send_keystrokes', { session, keys: [{ secret: 'box' }] })
      assert.equal(refused.error_code, 'MHV_TERMINAL_ECHO')
      await here.data('close', { session })
    }
    const unknown = await here.call('send_keystrokes', { session: cat, keys: [{ secret: 'bx' }] })
    assert.equal(unknown.error_code, 'MHV_TERMINAL_UNKNOWN')
  })

  test('reaches the program and is found nowhere on disk, in no answer and in no recording', async () => {
    const script = `stty -echo; printf 'Password: '; read -r X; stty echo; echo; echo "it is $X"; printf '%s' "$X" | cksum; sleep 60`
    const session = await start(`sh -c '${script.replaceAll("'", `'\\''`)}'`)
    await here.data('wait', { session, regex: 'Password: *$', seconds: 10 })
    await here.data('send_keystrokes', { session, keys: [{ secret: 'box' }, 'Enter'] })
    await here.data('wait', { session, regex: '^[0-9]+ [0-9]+$', seconds: 10 })
    const shown = await here.call('snapshot', { session, style: true, svg: true, history: 10 })
    // The program has got it: cksum tells how many bytes there were.
    assert.match(shown.output ?? '', new RegExp(`^\\d+ ${SECRET.length}$`, 'm'))
    assert.match(shown.output ?? '', /it is \[redacted\]/)
    const readBack = await here.call('read', { session })
    // Byte by byte too: no cut shows a part of it.
    let text = ''
    for (let cursor = 0, exit = 0; exit < 400; exit++) {
      const piece = await here.data('read', { session, cursor, max_bytes: 3 })
      text += piece.text
      if (piece.cursor === cursor) break
      cursor = piece.cursor as unknown as number
    }
    assert.match(text, /it is \[redacted\]/)
    const exported = await here.call('replay', { recording: session, format: 'txt' })
    assert.match(exported.output ?? '', /it is \[redacted\]/)
    await here.data('close', { session })
    assert.ok(![shown, readBack, exported, text].some((answer) => JSON.stringify(answer).includes(SECRET)))
    await here.leave()
    assert.deepEqual(await filesWith(here.folder, SECRET), [])
    assert.ok((await filesWith(here.folder, '[secret box]')).some((file) => file.endsWith('.cast.gz')))
    await here.again()
  })

  test('is masked on a screen also where it goes on in the next row', async () => {
    const session = await start(`sh -c 'stty -echo; read -r X; printf "%s" "$X"; sleep 60'`, { cols: 10 })
    await delay(300)
    await here.data('send_keystrokes', { session, keys: [{ secret: 'box' }, 'Enter'] })
    await here.data('wait', { session, stable_ms: 300, seconds: 5 })
    const { lines, styles } = await here.data('snapshot', { session, style: true })
    const rows = lines as unknown as string[]
    assert.equal(rows.join(''), '[redacted]')
    assert.ok(!JSON.stringify(styles).includes(SECRET.slice(0, 10)))
    await here.data('close', { session })
  })

  test('is masked after a restart, too, although this process never typed it', async () => {
    const session = await start(`sh -c 'stty -echo; read -r X; while read -r line; do echo "$X"; done'`)
    await delay(300)
    await here.data('send_keystrokes', { session, keys: [{ secret: 'box' }, 'Enter'] })
    await here.leave()
    await here.again()
    await here.data('send_keystrokes', { session, keys: 'go\n' })
    await here.data('wait', { session, regex: 'redacted|donkey', seconds: 5 }).catch(() => undefined)
    await here.data('close', { session })
    await here.leave()
    assert.deepEqual(await filesWith(here.folder, SECRET), [])
    await here.again()
  })
})

describe('a recording', () => {
  test('is linked from the run that started the session, and goes on over a restart', async () => {
    const begun = await here.call('start_interactive_session', { command: 'bash --norc' })
    const session = (begun.data as { session: string }).session
    await here.data('run', { session, command: 'echo before' })
    await here.leave()
    await here.again()
    await here.data('run', { session, command: 'echo behind' })
    await here.data('close', { session })
    const found = await here.data('replay', { recording: begun.run_id, format: 'txt' })
    const content = found.content as string
    assert.ok(content.indexOf('\nbefore') > 0 && content.indexOf('\nbehind') > content.indexOf('\nbefore'), content)
    assert.equal(content.split('\nbefore').length, 2, 'nothing is there twice')
    assert.ok(found.ended_at)
    for (const file of found.files as unknown as string[])
      assert.ok((await readFile(join(here.folder, file))).length > 0)
    const image = await here.data('replay', { recording: session, format: 'svg' })
    assert.match(image.content as string, /^<svg /)
  })
})

/** A terminal of a test, attached over the socket. */
async function attached(session: string, input: object = {}) {
  const key = randomBytes(16).toString('hex')
  const { instance } = here
  const run = await instance.invoke({
    operation: 'terminal.attach',
    input: { session, key_sha256: streamKeyDigest(key), ...input },
    envelope: { wait: 0 },
    principal: instance.principal,
    surface: 'embedded',
  })
  assert.equal(run.status === 'running' || run.status === 'pending', true)
  let socket = connect(streamSocketPath(here.folder))
  for (let tries = 0; tries < 100; tries++) {
    const ok = await new Promise<boolean>((done) =>
      socket.once('connect', () => done(true)).once('error', () => done(false)),
    )
    if (ok) break
    await delay(20)
    socket = connect(streamSocketPath(here.folder))
  }
  let seen = ''
  let end: { why: string } | undefined
  const notices: string[] = []
  socket.on(
    'data',
    createFrameReader((kind, payload) => {
      if (kind === 'data') seen += payload.toString('utf8')
      if (kind === 'notice') notices.push(JSON.parse(payload.toString('utf8')).message)
      if (kind === 'end') end = JSON.parse(payload.toString('utf8'))
    }),
  )
  socket.write(frameBytes('hello', { format: STREAM_FORMAT, key }))
  return {
    run_id: run.run_id,
    type: (text: string) => socket.write(frameBytes('data', Buffer.from(text))),
    resize: (rows: number, cols: number) => socket.write(frameBytes('resize', { rows, cols })),
    detach: () => socket.write(frameBytes('detach', {})),
    end: () => end,
    notices,
    destroy: () => socket.destroy(),
    async sees(wanted: RegExp) {
      for (let waited = 0; !wanted.test(seen); waited += 20) {
        assert.ok(waited < 10_000, `${wanted} is not in ${JSON.stringify(seen)}`)
        await delay(20)
      }
    },
    seen: () => seen,
    async result() {
      const { principal } = instance
      const answer = await instance.control({ name: 'run_wait', input: { run_id: run.run_id }, principal })
      return answer.run as {
        status: string
        output: string
        data: { why: string; bytes_in: number; bytes_refused: number }
      }
    },
  }
}

describe('attaching', () => {
  test('one types, others watch; the typed lines are the output of its run, a hidden one is not told', async () => {
    const session = await start('bash --norc', { marks: false })
    await here.data('wait', { session, prompt: true, seconds: 10 })
    const person = await attached(session)
    await person.sees(/[$#]/)
    const watchers = [await attached(session, { read_only: true }), await attached(session, { read_only: true })]
    person.resize(33, 99)
    person.type('stty size\r')
    for (const each of [person, ...watchers]) await each.sees(/33 99/)
    watchers[0]?.type('echo INTRUDER\r')
    person.type('read -s PASS; echo got ${#PASS}\r')
    await delay(400)
    person.type('hunter2hunter2')
    person.type('\r')
    await person.sees(/got 14/)
    assert.equal((await here.data('list')).sessions[0].watchers, 3)
    person.detach()
    const { data, status } = await person.result()
    assert.deepEqual([status, data.why], ['completed', 'detached'])
    const { control, principal } = here.instance
    const output = await control({ name: 'run_output', input: { run_id: person.run_id }, principal })
    const typed = JSON.stringify(output)
    assert.ok(typed.includes('stty size\\n') && typed.includes('[hidden]\\n'), typed)
    assert.ok(!typed.includes('hunter2'))
    assert.ok(!watchers.some((each) => each.seen().includes('INTRUDER')))
    // The session goes on; its end is told to those who still watch.
    await here.data('close', { session })
    for (const each of watchers) {
      assert.equal((await each.result()).data.why, 'exited')
      assert.equal(each.end()?.why, 'exited')
    }
    await here.leave()
    assert.deepEqual(await filesWith(here.folder, 'hunter2'), [])
    await here.again()
  })

  test('what a stuck program does not take is told to whoever typed it, and does not keep him', async () => {
    const session = await start("sh -c 'stty raw -echo; echo begun; kill -STOP $$; exec cat'")
    const person = await attached(session)
    await person.sees(/begun/)
    for (let each = 0; each < 20; each++) person.type('x'.repeat(100_000))
    await eventually(async () => person.notices.length > 0, 'a notice comes')
    assert.match(
      person.notices[0] as string,
      /^\d+ bytes that you typed were not taken: \d+ bytes of input wait already/,
    )
    const before = person.seen().length
    await eventually(async () => /\x1b\[2J/.test(person.seen().slice(before)), 'the screen is shown again as it is')
    person.resize(600, 100)
    await eventually(async () => person.notices.some((each) => /keeps its size/.test(each)), 'the size is told')
    person.detach()
    const { status, data } = await person.result()
    assert.deepEqual([status, data.why], ['completed', 'detached'])
    assert.equal(data.bytes_in + data.bytes_refused, 2_000_000)
    assert.ok(data.bytes_refused >= 900_000, `${data.bytes_refused} bytes were refused`)
    await here.data('close', { session })
  })

  test('cancelling the run detaches; a terminal that is gone ends the run; a key is good for once', async () => {
    const session = await start('cat')
    const first = await attached(session, { read_only: true })
    await first.sees(/./)
    const { instance } = here
    await instance.control({ name: 'run_cancel', input: { run_id: first.run_id }, principal: instance.principal })
    assert.equal((await first.result()).status, 'cancelled')
    const second = await attached(session)
    await second.sees(/./)
    second.destroy()
    assert.equal((await second.result()).data.why, 'gone')
    assert.equal((await here.data('list')).sessions[0].exit, null)
    await here.data('close', { session })
  })
})

describe('a task for an AI command line', () => {
  const task = (prompt: string, cli = 'scripted', timeout = 60) =>
    here.instance.invoke({
      operation: 'terminal.run_ai',
      input: { cli, prompt },
      envelope: { wait: 90, timeout },
      principal: here.instance.principal,
      surface: 'embedded',
    })

  test('ends with its result message, whole, and with its own exit code', async () => {
    for (const cli of ['scripted', 'argument']) {
      const { data, exit_code, output } = await task('the dishes', cli)
      assert.deepEqual([exit_code, output], [0, 'did: the dishes'])
      const { is_error, messages, other_lines, message } = data as Record<string, unknown>
      assert.deepEqual([is_error, messages, other_lines], [false, 3, 1])
      assert.equal((message as { session_id: string }).session_id, 'S1')
    }
    const failed = await task('fail')
    assert.deepEqual(
      [failed.status, failed.exit_code, (failed.data as { is_error: boolean }).is_error],
      ['completed', 1, true],
    )
  })

  test('is not over at a pause, nor at a word in a text', async () => {
    const { output, status } = await task('slowly')
    assert.deepEqual([status, output], ['completed', 'slow ü'])
  })

  test('without a result is a failure that says how it ended', async () => {
    const { error_code, error } = await task('crash')
    assert.equal(error_code, 'MHV_TERMINAL_AI_NO_RESULT')
    assert.match(error ?? '', /exit code 3.*something broke/s)
    assert.equal((await task('x', 'nobody')).error_code, 'MHV_TERMINAL_AI_UNKNOWN')
  })

  test('is ended at its deadline, and after a result that it outstays', async () => {
    const hung = await task('hang', 'scripted', 2)
    assert.equal(hung.status, 'timeout')
    const lingered = await task('linger')
    assert.deepEqual(
      [lingered.status, lingered.output, lingered.exit_code],
      ['completed', 'done, but still here', null],
    )
  })
})
