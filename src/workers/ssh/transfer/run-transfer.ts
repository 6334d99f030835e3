import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import { localRoots } from '../local-roots.ts'
import { openSftp } from '../open-sftp.ts'
import type { PoolCall } from '../pool.ts'
import { CHUNK, createBudget, createBuffers, WINDOW } from './flow.ts'
import { createFolders } from './local-folders.ts'
import { createMeter } from './meter.ts'
import { createPace } from './pace.ts'
import { planDownload } from './plan-download.ts'
import { checkRemoteTargets, planUpload } from './plan-upload.ts'
import { createRemoteFiles, type RemoteFiles } from './remote-files.ts'
import { probeHash } from './remote-hash.ts'
import { createReport, type Report } from './report.ts'
import { transferAll } from './slices.ts'
import { useSmallFiles } from './small-files.ts'
import type { TransferData, TransferInput } from './transfer.ts'
import type { Plan, Transfer, TransferContext } from './types.ts'

/** SFTP sessions of one transfer of many files: a server works on one request of a session at a time. */
const LANES = 4
/** Files from which further sessions are worth their time. */
const LANES_FROM = 64
/** Files from which a thread for the small ones is worth its start. */
const SMALL_FROM = 32
/** Milliseconds to wait for a further session; they are taken only where nobody else waits for a place. */
const LANE_MS = 100
/** Milliseconds in which what was begun is removed after the run was ended. */
const CLEAN_UP_MS = 2_000

/**
 * Plans and makes one transfer. Whenever it ends, however it ends, every target is either as it was or has its whole,
 * verified content. Throws what `sftpTransfer` declares.
 */
export async function runTransfer(ctx: TransferContext, input: TransferInput): Promise<TransferData> {
  const call: PoolCall = {
    target: ctx.target.address,
    settings: ctx.settings,
    secrets: ctx.secrets,
    signal: ctx.signal,
  }
  const { remote, endpoint } = await openLane(ctx, call)
  const lanes = [remote]
  const report = createReport(ctx, input)
  const end = () => {
    for (const lane of lanes) lane.end()
  }
  const working = transferOver(ctx, input, call, lanes, endpoint, report)
  working.catch(() => undefined)
  const ended = endedLate(ctx, end)
  try {
    return await Promise.race([working, ended.promise])
  } catch (error) {
    // A session that was cut off because the run has ended says nothing that matters.
    throw ctx.signal.aborted ? abortedError(ctx.signal.reason, report) : report.failed(error)
  } finally {
    ended.forget()
    end()
  }
}

async function transferOver(
  ctx: TransferContext,
  input: TransferInput,
  call: PoolCall,
  lanes: RemoteFiles[],
  endpoint: string,
  report: Report,
): Promise<TransferData> {
  const [remote] = lanes as [RemoteFiles]
  const probing = input.verify === 'sha256' ? probeHash(ctx.connection, call) : undefined
  probing?.catch(() => undefined)
  const plan = await planOf(ctx, input, remote, endpoint, report.made)
  const missing = await probing
  if (missing !== undefined && !input.verify_readback) {
    throw mhvError('MHV_SSH_TRANSFER_UNVERIFIED', `${endpoint}: ${missing}`)
  }
  if (missing !== undefined) report.note(`${missing}: its files were read back to be hashed here`)
  await addLanes(ctx, call, lanes, plan)
  const syncs = input.direction === 'download' || remote.can.fsync
  if (input.fsync && !syncs) report.note('the host has no fsync@openssh.com: its files were not synced')
  const small = plan.items.length < SMALL_FROM ? undefined : useSmallFiles()
  const transfer: Transfer = {
    ctx,
    input,
    call,
    lanes,
    endpoint,
    signal: ctx.signal,
    budget: createBudget(WINDOW * CHUNK),
    buffers: createBuffers(),
    small,
    meter: createMeter(ctx.clock, (progress) => ctx.progress(progress)),
    pace: createPace(input.bandwidth_limit, ctx.clock, ctx.bandwidth),
    durable: input.fsync && syncs,
    readBack: missing !== undefined,
    keptModes: new Map(),
    note: report.note,
  }
  await transferAll(transfer, plan, report).finally(() => small?.release())
  transfer.meter.finish()
  return report.data(transfer)
}

async function openLane(
  ctx: TransferContext,
  call: PoolCall,
): Promise<{ readonly remote: RemoteFiles; readonly endpoint: string }> {
  const { sftp, lease } = await openSftp(ctx.connection, call)
  return { remote: createRemoteFiles(sftp), endpoint: lease.connection.endpoint }
}

/** Further sessions, where places are free at this moment. */
async function addLanes(ctx: TransferContext, call: PoolCall, lanes: RemoteFiles[], plan: Plan): Promise<void> {
  if (plan.items.length < LANES_FROM) return
  const waiting = new AbortController()
  const signal = AbortSignal.any([call.signal, waiting.signal])
  const cancel = ctx.clock.after(LANE_MS, () => waiting.abort(mhvError('MHV_RUN_CANCELLED', 'no place in time')))
  const more = Array.from({ length: LANES - 1 }, () =>
    openLane(ctx, { ...call, signal }).then(
      ({ remote }) => {
        lanes.push(remote)
      },
      // One is enough.
      () => undefined,
    ),
  )
  await Promise.all(more)
  cancel()
}

async function planOf(
  ctx: TransferContext,
  input: TransferInput,
  remote: RemoteFiles,
  endpoint: string,
  made: () => void,
): Promise<Plan> {
  const roots = localRoots(ctx.settings, ctx.connection.folder)
  const folderRef = createFolders(roots, made)
  const { signal } = ctx
  if (input.direction === 'download') return planDownload({ input, roots, folderRef, made, remote, endpoint, signal })
  const plan = await planUpload({ input, roots, folderRef, signal })
  await checkRemoteTargets(plan, input, remote, endpoint)
  return plan
}

/** Rejects some time after the run was ended, and cuts off what hangs then. */
function endedLate(ctx: TransferContext, end: () => void): { readonly promise: Promise<never>; forget(): void } {
  const { promise, reject } = Promise.withResolvers<never>()
  let cancel: (() => void) | undefined
  const onAbort = () => {
    cancel = ctx.clock.after(CLEAN_UP_MS, () => {
      end()
      reject(ctx.signal.reason)
    })
  }
  promise.catch(() => undefined)
  ctx.signal.addEventListener('abort', onAbort, { once: true })
  if (ctx.signal.aborted) onAbort()
  return {
    promise,
    forget() {
      ctx.signal.removeEventListener('abort', onAbort)
      cancel?.()
    },
  }
}

/** The deadline or the cancellation, with what had been done by then. */
function abortedError(reason: unknown, report: Report): MhvError {
  const error = toMhvError(reason)
  const code = error.spec.phase === 'before-effect' ? 'MHV_RUN_CANCELLED' : error.code
  const { placed } = report
  return mhvError(code, `${error.message}; ${placed()} of the files had their names by then`, {
    details: { ...error.details, transferred: placed() },
    cause: error,
  })
}
