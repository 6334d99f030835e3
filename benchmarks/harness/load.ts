import { quantile } from './stats.ts'

/** What a number of calls took. Latencies in milliseconds. */
export interface LoadResult {
  readonly seconds: number
  readonly p50: number
  readonly p95: number
  /** Processor time of this process, all threads, per call: less disturbed by what else goes on than wall time. */
  readonly cpu: number
}

/**
 * Makes `count` calls, `concurrency` of them at any time, each caller beginning its next one when the last was
 * answered. The first failure ends it.
 */
export async function closedLoop(
  { count, concurrency }: { readonly count: number; readonly concurrency: number },
  call: (index: number) => Promise<void>,
): Promise<LoadResult> {
  const latencies = new Float64Array(count)
  let next = 0
  async function caller(): Promise<void> {
    while (next < count) {
      const index = next
      next += 1
      const began = performance.now()
      await call(index)
      latencies[index] = performance.now() - began
    }
  }
  const cpuBefore = process.cpuUsage()
  const began = performance.now()
  await Promise.all(Array.from({ length: concurrency }, caller))
  const seconds = (performance.now() - began) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  const cpu = (user + system) / 1000 / count
  return { seconds, p50: quantile(latencies, 0.5), p95: quantile(latencies, 0.95), cpu }
}
