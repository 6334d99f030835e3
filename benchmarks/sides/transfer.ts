/** Our side of `ssh.sftp_transfer`: the program as it is shipped, called the way a program that embeds it does. */
import { createInstances, production } from '../../src/app.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { TARGET } from '../harness/instance-folder.ts'
import { serveSide } from '../harness/side.ts'

let instance: Instance | undefined

export interface TransferJob {
  /** Input of the operation. */
  readonly input: Readonly<Record<string, unknown>>
  /** What it has to have brought over. */
  readonly files: number
  readonly bytes: number
}

const methods = {
  async open({ folder }: { folder: string }): Promise<void> {
    // Without the variables of whoever runs the benchmark: they are settings, too.
    const instances = createInstances({ ...production(), env: {} })
    instance = await instances.open({ folder, doing: 'a benchmark' })
  },
  /** Seconds of one transfer, through the whole path. */
  async transfer({ input, files, bytes }: TransferJob): Promise<number> {
    if (instance === undefined) throw new Error('not open')
    const { invoke, principal } = instance
    const began = performance.now()
    const { status, error, data } = await invoke({
      operation: 'ssh.sftp_transfer',
      input,
      envelope: { target: TARGET },
      principal,
      surface: 'embedded',
    })
    const seconds = (performance.now() - began) / 1000
    const done = data as { transferred: number; bytes: number } | null
    if (status !== 'completed' || done?.transferred !== files || done.bytes !== bytes) {
      throw new Error(`${status}: ${error ?? JSON.stringify(done)}`)
    }
    return seconds
  },
}

export type TransferSide = typeof methods

serveSide(methods, async () => {
  await instance?.close()
})
