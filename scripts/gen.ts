/**
 * Writes the derived files that are checked in.
 *
 *   npm run gen              writes what is stale
 *   npm run gen -- --check   writes nothing, lists what is stale, exit 1 if anything is
 */
import './lib/assert-node.ts'
import { deriveAll, writeDerived } from './gen/generator.ts'
import { generators } from './gen/index.ts'
import { createOutput } from './lib/output.ts'
import { root } from './lib/paths.ts'

const output = createOutput(process.argv.slice(2))
const check = output.args.includes('--check')
const derived = await deriveAll(generators, root)
const stale = derived.filter((one) => one.stale).map(({ path }) => path)
if (!check) writeDerived(derived, root)
for (const path of stale) output.say(`${check ? 'stale' : 'wrote'} ${path}`)
const closing = check && stale.length > 0 ? 'run npm run gen' : `${derived.length} derived files are up to date`
output.finish({ files: derived.map(({ path }) => path), [check ? 'stale' : 'written']: stale }, closing)
process.exitCode = check && stale.length > 0 ? 1 : 0
