import { admission } from './admission.ts'
import { batch } from './batch.ts'
import type { Area } from './harness/area.ts'
import { http } from './http.ts'
import { isolation } from './isolation.ts'
import { journal } from './journal.ts'
import { mcp } from './mcp.ts'
import { mqtt } from './mqtt.ts'
import { sftp } from './sftp.ts'
import { ssh } from './ssh.ts'
import { start } from './start.ts'
import { terminal } from './terminal.ts'

/** Everything that is measured, in the order in which it is. */
export const AREAS: readonly Area[] = [
  ssh,
  sftp,
  journal,
  mcp,
  http,
  start,
  admission,
  isolation,
  batch,
  terminal,
  mqtt,
]
