import { readdirSync, readFileSync } from 'node:fs'

/**
 * Ends a process of a group of its own, and what it has started: its group, and whoever has left that, as long as it is
 * known as a descendant. A stopped process takes this signal too.
 */
export function endTree(pid: number): void {
  // Whoever loses its parent is nobody's descendant any more, so they are looked up before anybody is ended.
  const below = descendantsOf(pid)
  endGroup(pid)
  for (const each of below) signal(each)
}

/**
 * Ends what is left of the group of a process that has ended. To be called as its end is told, when its number cannot be
 * that of another group yet.
 */
export function endGroup(pid: number): void {
  signal(-pid)
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Nobody is left.
  }
}

/** None where /proc does not tell. */
function descendantsOf(pid: number): number[] {
  const children = childrenOf(pid)
  return [...children, ...children.flatMap(descendantsOf)]
}

function childrenOf(pid: number): number[] {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`)
    return tasks.flatMap((task) => {
      const text = readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1')
      return text.split(' ').filter(Boolean).map(Number)
    })
  } catch {
    return []
  }
}
