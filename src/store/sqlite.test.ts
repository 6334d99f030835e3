import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { storeContract } from '../testing/store-contract.ts'
import { openSqliteStore } from './sqlite.ts'

storeContract('sqlite', async (clock) => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-store-'))
  const options = { path: join(folder, 'journal.db'), clock }
  let store = await openSqliteStore(options)
  return {
    store,
    async reopen() {
      await store.close()
      store = await openSqliteStore(options)
      return store
    },
    async cleanup(failed) {
      await store.close()
      if (!failed) await rm(folder, { recursive: true })
    },
  }
})
