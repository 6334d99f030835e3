import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'

/** Size in bytes of the young generation of a fresh process after it has made much garbage that survives a while. */
function sizeAfterGarbage(before: string): number {
  const module = new URL('./young-generation.ts', import.meta.url).href
  const program = `
    import { getHeapSpaceStatistics } from 'node:v8'
    import * as young from '${module}'
    ${before}
    let kept = []
    for (let round = 0; round < 300_000; round++) kept.push({ round, text: 'x' + round })
    const [space] = getHeapSpaceStatistics().filter((each) => each.space_name === 'new_space')
    console.log(space.space_size)`
  return Number(execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' }))
}

test('the young generation stays small while it is held, and grows when it is free', () => {
  const held = sizeAfterGarbage('young.holdYoungGeneration()')
  assert.ok(held <= 4_000_000, `${held} bytes`)
  for (const free of ['', 'young.holdYoungGeneration(); young.freeYoungGeneration()']) {
    const size = sizeAfterGarbage(free)
    assert.ok(size > 2 * held, `${size} bytes`)
  }
})
