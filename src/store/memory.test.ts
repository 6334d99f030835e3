import { storeContract } from '../testing/store-contract.ts'
import { createMemoryStore } from './memory.ts'

storeContract('memory', async (clock) => {
  const store = createMemoryStore(clock)
  return { store, cleanup: () => store.close() }
})
