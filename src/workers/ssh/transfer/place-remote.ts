import { MhvError, mhvError } from '../../../core/errors.ts'
import { sftpError } from '../files/sftp-errors.ts'
import { badTarget } from './errors.ts'
import type { RemoteFiles } from './remote-files.ts'
import { asideName } from './temp-name.ts'
import type { Transfer } from './types.ts'

/**
 * Gives a remote file its name. Atomic by posix-rename@openssh.com; without it, the old file is moved aside first, and
 * back if the new one cannot take its place. False where the target exists and must not be replaced.
 */
export async function placeRemote(
  transfer: Transfer,
  remote: RemoteFiles,
  temp: string,
  target: string,
): Promise<boolean> {
  const { input, endpoint } = transfer
  try {
    // OpenSSH's plain rename makes a second name and removes the first, so it fails where the target is, atomically.
    if (input.overwrite === 'never') return await placeNew(remote, temp, target)
    if (remote.can.replace) await remote.replace(temp, target)
    else await placeAside(transfer, remote, temp, target)
    return true
  } catch (error) {
    if (error instanceof MhvError) throw error
    const there = await remote.lstat(target).catch(() => undefined)
    if (there?.kind === 'directory') throw badTarget(target, 'is a folder on the host')
    throw await sftpError(error, { doing: 'put in place', path: target, endpoint }, remote, { writes: true })
  }
}

async function placeNew(remote: RemoteFiles, temp: string, target: string): Promise<boolean> {
  try {
    await remote.rename(temp, target)
    return true
  } catch (error) {
    if ((await remote.lstat(target)) === undefined) throw error
    return false
  }
}

async function placeAside(transfer: Transfer, remote: RemoteFiles, temp: string, target: string): Promise<void> {
  const { note, endpoint } = transfer
  const there = await remote.lstat(target)
  if (there === undefined) return remote.rename(temp, target)
  // A folder could be moved aside as well, and a file is never put in the place of one.
  if (there.kind === 'directory') throw badTarget(target, 'is a folder on the host')
  const aside = asideName(temp)
  note('the host cannot replace a file atomically: for a moment there was none under the name of the target')
  const movedTo = async (thrown: unknown, where: string): Promise<MhvError> => {
    const error = await sftpError(thrown, { doing: 'put in place', path: target, endpoint })
    // The target is not as it was any more.
    const code = error.spec.phase === 'before-effect' ? 'MHV_SSH_TRANSFER_PARTIAL' : error.code
    return mhvError(code, `${error.message}; what was there before ${where} ${JSON.stringify(aside)}`, {
      details: { ...error.details, moved_to: aside },
      cause: error,
    })
  }
  await remote.rename(target, aside).catch(async (error: unknown) => {
    // Without an answer it may have happened.
    throw error instanceof MhvError ? await movedTo(error, 'may now be') : error
  })
  try {
    await remote.rename(temp, target)
  } catch (error) {
    await remote.rename(aside, target).catch(async () => {
      throw await movedTo(error, 'is now')
    })
    throw error
  }
  // What was asked for is done, whatever becomes of it.
  await remote.unlink(aside).catch(() => note(`what was there before could not be removed: ${JSON.stringify(aside)}`))
}
