import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { inRoot } from '../../scripts/lib/paths.ts'
import { freePort, type Sshd } from './sshd.ts'

/**
 * Where the commands of one page run: a home, an instance in it, a working folder, and `mahavishnu` on the path. The
 * hosts of the guides are one sshd on this machine.
 */
export interface DocPlace {
  readonly instance: string
  readonly work: string
  readonly env: NodeJS.ProcessEnv
  /** Puts what is here in the place of what the guides call it. */
  fill(text: string): string
  /** The other way round, for comparing what was said with what a page shows. */
  unfill(text: string): string
  run(script: string): Promise<{ readonly code: number; readonly said: string }>
  remove(): Promise<void>
}

/** The names of targets in the guides; all of them are the same host here. */
const TARGETS = ['web-1', 'web1', 'db1']

/**
 * @param remoteHome home folder of the user on the host
 * @param empty an instance folder as a reader has it who begins: nothing in it, and no host is known
 */
export async function docPlace(sshd: Sshd, remoteHome: string, empty: boolean): Promise<DocPlace> {
  const root = await mkdtemp(join(tmpdir(), 'mhv-docs-'))
  const [home, bin, work, instance] = ['home', 'bin', 'work', 'instance'].map((name) => join(root, name)) as [
    string,
    string,
    string,
    string,
  ]
  await Promise.all([home, bin, work, join(home, '.ssh')].map((folder) => mkdir(folder, { recursive: true })))
  await copyFile(sshd.userKey, join(home, '.ssh/id_ed25519'))
  // A reader knows other hosts already.
  await writeFile(join(home, '.ssh/known_hosts'), sshd.knownHosts.replace(/^\S+/gm, 'other.example.org'))
  await writePrograms(bin)
  await writeFile(join(work, 'script.sh'), 'echo "from the script"\n')
  if (!empty) await writeDocInstance(instance, sshd)
  const port = await freePort()
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    HOME: home,
    LANG: 'C.UTF-8',
    MAHAVISHNU_HOME: instance,
    MAHAVISHNU_HTTP__PORT: String(port),
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
    // What is built is not counted.
    NODE_V8_COVERAGE: '',
  }
  const pairs: readonly (readonly [string, string])[] = [
    ['/path/to/instance', instance],
    ['/path/to/mahavishnu', inRoot()],
    ['127.0.0.1:7420', `127.0.0.1:${port}`],
    ['[web-1.example.org]:22', `[${sshd.host}]:${sshd.port}`],
    ['web-1.example.org', sshd.host],
    ['port: 22', `port: ${sshd.port}`],
    ['-p 22 ', `-p ${sshd.port} `],
    ['user: deploy', `user: ${sshd.user}`],
    // What a page makes on its host is made in a folder that goes again.
    ['/tmp/not-there-yet', join(remoteHome, 'not-there-yet')],
  ]
  const fill = (text: string) => pairs.reduce((filled, [name, here]) => filled.replaceAll(name, here), text)
  return {
    instance,
    work,
    env,
    fill,
    unfill: (text) =>
      text
        .replaceAll(instance, '/path/to/instance')
        .replaceAll(home, '/home/you')
        .replaceAll(`127.0.0.1:${port}`, '127.0.0.1:7420'),
    run: (script) => runScript(fill(script), work, env),
    remove: () => rm(root, { recursive: true, force: true }),
  }
}

/** `mahavishnu` and `npx mahavishnu`, as they are after an installation. */
async function writePrograms(bin: string): Promise<void> {
  const start = `exec '${process.execPath}' '${inRoot('bin/mahavishnu.cjs')}' "$@"\n`
  await writeFile(join(bin, 'mahavishnu'), `#!/bin/sh\n${start}`)
  await writeFile(join(bin, 'npx'), `#!/bin/sh\n[ "$1" = mahavishnu ] || exit 64\nshift\n${start}`)
  await Promise.all(['mahavishnu', 'npx'].map((name) => chmod(join(bin, name), 0o755)))
}

async function writeDocInstance(folder: string, sshd: Sshd): Promise<void> {
  const settings = join(folder, 'settings')
  await mkdir(settings, { recursive: true, mode: 0o700 })
  await chmod(folder, 0o700)
  const ssh = { host: sshd.host, port: sshd.port, user: sshd.user, identity_files: ['~/.ssh/id_ed25519'] }
  const targets = Object.fromEntries(TARGETS.map((name) => [name, { tier: 'dev', ssh }]))
  await writeFile(join(settings, 'inventory.yaml'), stringify({ version: 1, targets }))
  await writeFile(join(settings, 'policy.yaml'), 'version: 1\nname: all\nrules:\n  - { id: all, decision: allow }\n')
  await writeFile(join(folder, 'known_hosts'), sshd.knownHosts, { mode: 0o600 })
}

/** As typed into a shell: the first command that fails ends it. Both streams, in the order in which they came. */
function runScript(script: string, cwd: string, env: NodeJS.ProcessEnv) {
  return new Promise<{ code: number; said: string }>((resolve) => {
    const args = ['-eu', '-o', 'pipefail', '-c', `exec 2>&1 </dev/null\n${script}`]
    execFile('bash', args, { cwd, env, timeout: 60_000 }, (error, said) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 255, said })
    })
  })
}
