import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { stringify } from 'yaml'
import { createInstances, production } from '../../src/app.ts'
import type { Principal } from '../../src/core/context.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import type { OpenInstance } from '../../src/runtime/instance.ts'
import type { Sshd } from './sshd.ts'

export interface TerminalInstance extends AsyncDisposable {
  readonly instance: OpenInstance
  readonly folder: string
  /** Calls an operation of the worker `terminal`, as the user of this process unless told. */
  call(verb: string, input?: object, principal?: Principal): Promise<WorkerResult>
  /** Calls an operation of any worker, with what the envelope has. */
  invoke(operation: string, input: object, envelope?: object, principal?: Principal): Promise<WorkerResult>
  /** The same; fails where it does not complete. */
  // biome-ignore lint/suspicious/noExplicitAny: what a test looks at in an answer, it checks
  data(verb: string, input?: object, envelope?: object): Promise<Record<string, any>>
  /** Closes it as a command does; its sessions go on. */
  leave(): Promise<void>
  /** Opens it again. */
  again(): Promise<void>
}

export interface TerminalInstanceOptions {
  readonly settings?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string>>
  /** A server that is the target `box`; its key is known. */
  readonly sshd?: Sshd
  /** Further fields of its ssh block. */
  readonly target?: Readonly<Record<string, unknown>>
  /** Operations that the policy denies; it allows everything else. */
  readonly denied?: readonly string[]
  /** Settings of the worker ssh, and whether each worker has a process of its own. */
  readonly ssh?: Readonly<Record<string, unknown>>
}

/** A folder with a policy that allows everything, but what is denied. */
export async function terminalFolder(options: Omit<TerminalInstanceOptions, 'env'> = {}): Promise<string> {
  const { settings, ssh, sshd } = options
  const folder = await mkdtemp(join(tmpdir(), 'mhv-terminal-'))
  await mkdir(join(folder, 'settings'), { mode: 0o700 })
  const terminal = { directories: [folder], host_idle_timeout: 1, commands: ['*'], ...settings }
  const file = { version: 1, terminal, ssh: { known_hosts: [], config_files: [], ...ssh } }
  await writeFile(join(folder, 'settings', 'mahavishnu.yaml'), stringify(file))
  const denied = (options.denied ?? []).map((id) => ({ id: `no-${id}`, operations: [id], decision: 'deny' }))
  const policy = { version: 1, name: 'all', rules: [...denied, { id: 'all', decision: 'allow' }] }
  await writeFile(join(folder, 'settings', 'policy.yaml'), stringify(policy))
  if (sshd !== undefined) await writeTarget(folder, sshd, options.target)
  return folder
}

async function writeTarget(folder: string, sshd: Sshd, more: Readonly<Record<string, unknown>> = {}): Promise<void> {
  const block = { host: sshd.host, port: sshd.port, user: sshd.user, identity_files: [sshd.userKey], ...more }
  const targets = { box: { tier: 'dev', ssh: block } }
  await writeFile(join(folder, 'settings', 'inventory.yaml'), stringify({ version: 1, targets }))
  await writeFile(join(folder, 'known_hosts'), sshd.knownHosts, { mode: 0o600 })
}

/** The program as it is shipped, in this process, on a folder of its own. */
export async function terminalInstance(options: TerminalInstanceOptions = {}): Promise<TerminalInstance> {
  const folder = await terminalFolder(options)
  const open = () =>
    createInstances({ ...production(), env: { ...process.env, ...options.env } }).open({ folder, doing: 'test' })
  let instance = await open()
  let isOpen = true

  const invoke: TerminalInstance['invoke'] = (operation, input, envelope = {}, principal = instance.principal) =>
    instance.invoke({ operation, input, envelope: { wait: 60, ...envelope }, principal, surface: 'embedded' })
  const call: TerminalInstance['call'] = (verb, input = {}, principal = instance.principal) =>
    invoke(`terminal.${verb}`, input, {}, principal)

  async function leave(): Promise<void> {
    if (isOpen) await instance.close()
    isOpen = false
  }

  return {
    get instance() {
      return instance
    },
    folder,
    call,
    invoke,
    async data(verb, input = {}, envelope) {
      const result = await invoke(`terminal.${verb}`, input, envelope)
      if (result.status !== 'completed') throw new Error(`terminal.${verb}: ${result.error_code} ${result.error}`)
      return result.data as Record<string, unknown>
    },
    leave,
    async again() {
      instance = await open()
      isOpen = true
    },
    async [Symbol.asyncDispose]() {
      if (!isOpen) {
        instance = await open()
        isOpen = true
      }
      const { sessions } = ((await call('list')).data ?? { sessions: [] }) as { sessions: { session: string }[] }
      for (const { session } of sessions) await call('close', { session })
      await leave()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Every file below a folder that has this text in it, also in what is compressed. */
export async function filesWith(folder: string, text: string): Promise<readonly string[]> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const found: string[] = []
  for (const entry of names) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const bytes = await readFile(path)
    const plain = path.endsWith('.gz') && bytes.length > 0 ? gunzipSync(bytes) : bytes
    if (plain.includes(text)) found.push(path)
  }
  return found
}
