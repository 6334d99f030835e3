import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { loadSettings } from '../config/layers.ts'
import { createRegistry } from '../core/registry.ts'
import { createProbeWorker } from '../testing/probe-worker.ts'
import { capacityOf, hostCapacity } from './capacity.ts'

const registry = createRegistry([createProbeWorker()])
const HOST = { memory_mb: 1_000, processors: 2, open_files: 1_024 }

async function excess(flags: readonly string[], host = HOST): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-capacity-'))
  try {
    return capacityOf(registry, await loadSettings({ folder, registry, env: {}, flags: [...flags] }), host)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

suite('limits of processes beside what the host has', () => {
  test('workers in the main process have none', async () => {
    assert.deepEqual(await excess(['probe.process.memory_limit_mb=5000']), [])
  })

  test('what fits is not told; each that does not is', async () => {
    const own = ['probe.isolation=process']
    assert.deepEqual(await excess([...own, 'probe.process.memory_limit_mb=744', 'probe.process.cpu_percent=200']), [])
    assert.deepEqual(await excess([...own, 'probe.process.memory_limit_mb=745']), [
      'the processes of the workers may hold 1001 MiB with the main one; this host has 1000',
    ])
    assert.deepEqual(await excess([...own, 'probe.process.cpu_percent=201']), [
      'the workers may take 201 % of a processor; this host has 200',
    ])
    assert.deepEqual(await excess([...own, 'probe.process.open_files=1025']), [
      'worker probe may open 1025 files; a process of this user, 1024',
    ])
  })

  test('this host has something', () => {
    const { memory_mb, processors, open_files } = hostCapacity()
    assert.ok(memory_mb > 64 && processors >= 1 && (open_files ?? 64) >= 64)
  })
})
