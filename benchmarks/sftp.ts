/** `ssh.sftp_transfer` on its whole path, beside scp, sftp and rsync over kept connections to the same sshd. */
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { nativeCrypto } from '../src/workers/ssh/ssh2-library.ts'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { makeInstanceFolder, sshTargetOf } from './harness/instance-folder.ts'
import { interleave } from './harness/interleave.ts'
import { type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { type BenchSshd, serverMissing, startServer } from './harness/sshd.ts'
import { median } from './harness/stats.ts'
import { type OpensshFiles, peersMissing, startOpensshFiles } from './peers/openssh-files.ts'
import type { TransferSide } from './sides/transfer.ts'

type Direction = 'upload' | 'download'

const MIB = 1024 * 1024
const FILES = 2_000
const FILE_BYTES = 4_096

interface Sides {
  readonly ours: Side<TransferSide>
  readonly peers: OpensshFiles
  readonly sshd: BenchSshd
  /** What is transferred lies in `files`, which is a root of ours. */
  readonly files: string
}

const settingsOf = ({ sshd }: Sides, more: Readonly<Record<string, unknown>>) => ({
  ...more,
  native: nativeCrypto === 'used',
  ...sshd.settings,
  connections: 'one each, kept open',
})

interface How {
  readonly fsync: boolean
  readonly verify: 'sha256' | 'size'
}

/** One big file. Either both sides sync it or neither does: of the peers only sftp can, and it compares no digests. */
async function big(options: BenchOptions, sides: Sides, direction: Direction, how: How): Promise<Row> {
  const { fsync, verify } = how
  const bytes = (options.quick ? 32 : 256) * MIB
  const source = join(sides.files, `big${bytes}`)
  const target = join(sides.files, 'arrived')
  const [local, remote] = direction === 'upload' ? [source, target] : [target, source]
  const input = { direction, files: [{ local, remote }], ...how }
  const fresh = async (work: () => Promise<number>) => {
    rmSync(target, { force: true })
    return work()
  }
  const { peers } = sides
  const values = await interleave(
    {
      ours: () => fresh(() => sides.ours.call('transfer', { input, files: 1, bytes })),
      peer: () =>
        fresh(() =>
          fsync ? peers.sftp(source, target, direction) : peers.scp(source, target, direction, verify === 'sha256'),
        ),
    },
    interleavingOf(options, `${direction} of one file, ${verify}, ${fsync ? '' : 'no '}fsync`, 1),
  )
  const rate = (rounds: readonly (readonly number[])[]) => rounds.map((turns) => bytes / MIB / median(turns))
  const hashed = verify === 'sha256'
  const name = fsync
    ? `sftp, ${direction === 'upload' ? 'put' : 'get'} -f`
    : hashed
      ? 'scp, then sha256sum twice'
      : 'scp'
  return toRow(
    {
      name: `sftp.${direction}.big.${verify}${fsync ? '.fsync' : ''}`,
      title: `${direction} of one file of ${bytes / MIB} MiB, verify ${verify}, beside ${name}`,
      unit: 'MiB/s',
      better: 'higher',
      ours: rate(values.ours),
      peer: { name, version: peers.versions.scp, values: rate(values.peer) },
      goal: { of: 'ratio', is: '>=', limit: hashed ? 1 : 0.9 },
      settings: settingsOf(sides, { bytes, ...how }),
    },
    options,
  )
}

/**
 * Many small files, each time into a new folder. None of them is removed before the end: ext4 passes over the inodes of
 * files that were removed less than a minute ago, one by one, which made both sides up to five times slower, in turns.
 */
async function many(options: BenchOptions, sides: Sides, direction: Direction, how: How): Promise<Row> {
  const { fsync, verify } = how
  const source = join(sides.files, 'many')
  const name = `sftp.${direction}.many.${verify}${fsync ? '.fsync' : ''}`
  let turn = 0
  const nextTarget = () => join(sides.files, `${name}-${turn++}`)
  const inputTo = (target: string) => {
    const [local, remote] = direction === 'upload' ? [source, target] : [target, source]
    return { direction, files: [{ local, remote }], recursive: true, ...how }
  }
  const values = await interleave(
    {
      ours: () =>
        sides.ours.call('transfer', { input: inputTo(nextTarget()), files: FILES, bytes: FILES * FILE_BYTES }),
      peer: () => sides.peers.rsync(source, nextTarget(), direction, fsync),
    },
    interleavingOf(options, `${direction} of many files, ${verify}, ${fsync ? '' : 'no '}fsync`, 1),
  )
  const rate = (rounds: readonly (readonly number[])[]) => rounds.map((turns) => FILES / median(turns))
  return toRow(
    {
      name,
      title: `${direction} of ${FILES} files of ${FILE_BYTES} bytes, verify ${verify}, beside rsync -rp${fsync ? ' --fsync' : ''}`,
      unit: 'files/s',
      better: 'higher',
      ours: rate(values.ours),
      peer: {
        name: `rsync -rp${fsync ? ' --fsync' : ''}`,
        version: sides.peers.versions.rsync,
        values: rate(values.peer),
      },
      goal: { of: 'ratio', is: '>=', limit: 1 },
      settings: settingsOf(sides, { files: FILES, file_bytes: FILE_BYTES, ...how }),
    },
    options,
  )
}

function makeFiles(files: string, quick: boolean): void {
  const bytes = (quick ? 32 : 256) * MIB
  mkdirSync(join(files, 'many'), { recursive: true })
  const fd = openSync(join(files, `big${bytes}`), 'w')
  for (let at = 0; at < bytes; at += MIB) writeSync(fd, randomBytes(MIB))
  closeSync(fd)
  for (let n = 0; n < FILES; n += 1) writeFileSync(join(files, 'many', `file-${n}`), randomBytes(FILE_BYTES))
}

async function measureAll(options: BenchOptions, sides: Sides): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const direction of ['upload', 'download'] as const) {
    rows.push(await big(options, sides, direction, { fsync: false, verify: 'sha256' }))
    for (const fsync of [true, false]) rows.push(await big(options, sides, direction, { fsync, verify: 'size' }))
    for (const fsync of [true, false]) rows.push(await many(options, sides, direction, { fsync, verify: 'sha256' }))
    rows.push(await many(options, sides, direction, { fsync: false, verify: 'size' }))
  }
  return rows
}

export const sftp: Area = {
  name: 'sftp',
  summary: 'ssh.sftp_transfer on its whole path, beside scp, sftp and rsync over kept connections',
  missing: () => serverMissing() ?? peersMissing(),
  run: (options) =>
    withFolder('sftp', async (folder) => {
      const sshd = await startServer()
      const [instance, files] = [join(folder, 'instance'), join(folder, 'files')]
      for (const each of [instance, files]) mkdirSync(each)
      makeFiles(files, options.quick)
      makeInstanceFolder(instance, {
        settings: { ssh: { local_roots: [files] } },
        target: { ssh: sshTargetOf(sshd) },
      })
      const ours = await startSide<TransferSide>(new URL('./sides/transfer.ts', import.meta.url), options)
      const peers = await startOpensshFiles(sshd, folder)
      try {
        await ours.call('open', { folder: instance })
        return await measureAll(options, { ours, peers, sshd, files })
      } finally {
        await Promise.all([ours.end(), peers.close()])
        await sshd.close()
      }
    }),
}
