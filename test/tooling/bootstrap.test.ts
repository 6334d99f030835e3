import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, test } from 'node:test'
import { bootstrap, currentMarker, isInstalled } from '../../scripts/bootstrap/install.mjs'
import { withLock } from '../../scripts/bootstrap/lock.mjs'
import { pathsOf } from '../../scripts/bootstrap/paths.mjs'
import { inRoot } from '../../scripts/lib/paths.ts'
import { findOlderNode, noOlderNode } from './older-node.ts'

const olderNode = findOlderNode()
const manifest = JSON.parse(readFileSync(inRoot('package.json'), 'utf8'))
const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function write(root: string, files: Readonly<Record<string, unknown>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), typeof content === 'string' ? content : JSON.stringify(content))
  }
}

/** A checkout with one dependency that needs no network: a folder beside it. */
function makeCheckout(): ReturnType<typeof pathsOf> {
  const root = mkdtempSync(join(tmpdir(), 'mahavishnu-bootstrap-'))
  folders.push(root)
  const dependencies = { dep: 'file:dep' }
  write(root, {
    'dep/package.json': { name: 'dep', version: '1.0.0' },
    'package.json': { name: 'x', version: '1.0.0', dependencies, devDependencies: {} },
    'package-lock.json': {
      name: 'x',
      version: '1.0.0',
      lockfileVersion: 3,
      packages: {
        '': { name: 'x', version: '1.0.0', dependencies },
        dep: { version: '1.0.0' },
        'node_modules/dep': { resolved: 'dep', link: true },
      },
    },
  })
  return pathsOf(root)
}

describe('bootstrap', () => {
  test('installs once, announces it, and has nothing to do the second time', () => {
    const paths = makeCheckout()
    const said: string[] = []
    assert.equal(currentMarker(paths), undefined)
    const marker = bootstrap(paths, (message) => said.push(message))
    assert.match(said[0] ?? '', /installing the pinned npm packages/)
    assert.match(said.join('\n'), /native: false/)
    assert.ok(existsSync(join(paths.modules, 'dep/package.json')))
    assert.equal(marker.version, process.versions.node)
    assert.deepEqual(currentMarker(paths), marker)
    const { stdout } = spawnSync(paths.nodeLink, ['-p', 'process.versions.node'], { encoding: 'utf8' })
    assert.equal(stdout.trim(), process.versions.node)
  })

  test('notices a changed lock file and a link that is gone, and leaves packages alone that are there already', () => {
    const paths = makeCheckout()
    bootstrap(paths, () => {})
    rmSync(paths.nodeLink)
    assert.equal(currentMarker(paths), undefined)
    writeFileSync(paths.lockfile, `${readFileSync(paths.lockfile, 'utf8')}\n`)
    assert.equal(currentMarker(paths), undefined)
    assert.equal(isInstalled(paths), true)
    const said: string[] = []
    bootstrap(paths, (message) => said.push(message))
    assert.doesNotMatch(said.join('\n'), /installing/)
  })

  test('sees a package of another version, and forgives an optional one that is missing', () => {
    const paths = makeCheckout()
    const packages = {
      '': {},
      'node_modules/a': { version: '1.0.0' },
      'node_modules/b': { version: '1.0.0', optional: true },
    }
    const a = { 'node_modules/a/package.json': { version: '1.0.0' } }
    write(paths.root, { 'package-lock.json': { packages }, 'node_modules/.package-lock.json': { packages: {} }, ...a })
    assert.equal(isInstalled(paths), false)
    write(paths.root, { 'node_modules/.package-lock.json': { packages: { 'node_modules/a': { version: '0.9.0' } } } })
    assert.equal(isInstalled(paths), false)
    write(paths.root, { 'node_modules/.package-lock.json': { packages: { 'node_modules/a': { version: '1.0.0' } } } })
    assert.equal(isInstalled(paths), true)
  })
})

describe('bootstrap.mjs', () => {
  /** A copy with a script that tells how it was started; the pinned Node is lent to it, which saves a download. */
  function makeCopy(): string {
    const { root } = makeCheckout()
    cpSync(inRoot('scripts/bootstrap.mjs'), join(root, 'scripts/bootstrap.mjs'))
    cpSync(inRoot('scripts/bootstrap'), join(root, 'scripts/bootstrap'), { recursive: true })
    const { node } = manifest.devDependencies
    write(root, {
      'package.json': { name: 'x', version: '1.0.0', devDependencies: { node } },
      'package-lock.json': { packages: { '': {} } },
      'node_modules/.package-lock.json': { packages: {} },
      'scripts/tell.ts': `const told: unknown = { node: process.versions.node, args: process.argv.slice(2) }
        console.log(JSON.stringify(told))
        process.exitCode = 7`,
      'scripts/wait.ts': `process.on('SIGTERM', () => process.exit(9))
        setInterval(() => {}, 1000)
        console.log('waiting')`,
    })
    mkdirSync(join(root, '.cache'))
    symlinkSync(inRoot('.cache/node'), join(root, '.cache/node'))
    return root
  }

  const skip = !olderNode ? noOlderNode : existsSync(inRoot('.cache/node')) ? false : 'no Node from npm in .cache/node'

  test('TOOL-01: hands over to a Node that is new enough, with arguments and exit code', { skip }, () => {
    const root = makeCopy()
    const args = [join(root, 'scripts/bootstrap.mjs'), 'tell', '--', '-x', 'a b']
    const { status, stdout, stderr } = spawnSync(olderNode ?? '', args, { encoding: 'utf8' })
    assert.equal(status, 7, stderr)
    assert.deepEqual(JSON.parse(stdout), { node: manifest.devDependencies.node, args: ['--', '-x', 'a b'] })
    assert.match(stderr, /ready: Node 24/)
    const again = spawnSync(olderNode ?? '', args, { encoding: 'utf8' })
    assert.equal(again.stderr, '')
    assert.equal(again.stdout, stdout)
  })

  test('passes a signal on and ends as its command ends', async () => {
    const root = makeCopy()
    const child = spawn(process.execPath, [join(root, 'scripts/bootstrap.mjs'), 'wait'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    await new Promise((resolve) => child.stdout.once('data', resolve))
    child.kill('SIGTERM')
    const [code] = await new Promise<[number | null]>((resolve) => child.once('exit', (...end) => resolve([end[0]])))
    assert.equal(code, 9)
  })

  test('an unknown command is a message and exit 78', () => {
    const { status, stderr } = spawnSync(process.execPath, [inRoot('scripts/bootstrap.mjs'), 'nonsense'], {
      encoding: 'utf8',
    })
    assert.equal(status, 78)
    assert.match(stderr, /there is no scripts\/nonsense\.ts/)
  })
})

describe('the lock of the bootstrap', () => {
  function lockFolder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'mahavishnu-lock-'))
    folders.push(folder)
    return join(folder, 'lock')
  }

  test('lets one in at a time and tells the other whom it waits for', async () => {
    const lock = lockFolder()
    const order: string[] = []
    const said: string[] = []
    const first = withLock(
      lock,
      () => {},
      async () => {
        order.push('first in')
        await new Promise((resolve) => setTimeout(resolve, 100))
        order.push('first out')
      },
    )
    const second = withLock(
      lock,
      (message) => said.push(message),
      () => order.push('second'),
    )
    await Promise.all([first, second])
    assert.deepEqual(order, ['first in', 'first out', 'second'])
    assert.match(said.join(), new RegExp(`process ${process.pid}`))
    assert.equal(existsSync(lock), false)
  })

  test('takes over from a process that died, and from a reused process id', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', ''])
    const stale = existsSync('/proc/self/stat') ? [`${pid} 1`, `${process.pid} 1`] : [`${pid} `]
    for (const note of stale) {
      const lock = lockFolder()
      write(lock, { pid: note })
      assert.equal(
        await withLock(
          lock,
          () => {},
          () => 'done',
        ),
        'done',
      )
    }
  })

  test('is released when the work fails', async () => {
    const lock = lockFolder()
    await assert.rejects(
      withLock(
        lock,
        () => {},
        () => Promise.reject(new Error('no')),
      ),
      /no/,
    )
    assert.equal(existsSync(lock), false)
  })
})
