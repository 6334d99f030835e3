import type { ChildProcess } from 'node:child_process'

/** Tells the child to end when this process does, however it ends (but for kill -9). */
export function endWithThisProcess(child: ChildProcess): void {
  const end = () => child.kill('SIGTERM')
  process.once('exit', end)
  child.once('exit', () => process.off('exit', end))
}
