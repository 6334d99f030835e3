import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

/** What a fresh process prints. @param cache folder of its compile cache; without one it has none */
function said(program: string, cache?: string): string {
  const module = new URL('./young-generation.ts', import.meta.url).href
  const whole = `
    import { cachedDataVersionTag, getHeapSpaceStatistics } from 'node:v8'
    import * as young from '${module}'
    ${program}`
  const { NODE_COMPILE_CACHE: _, ...env } = process.env
  return execFileSync(process.execPath, ['--input-type=module', '--eval', whole], {
    env: cache === undefined ? env : { ...env, NODE_COMPILE_CACHE: cache },
    encoding: 'utf8',
  })
}

/** Size in bytes of the young generation after much garbage that survives a while. */
function sizeAfterGarbage(before: string): number {
  const program = `
    ${before}
    let kept = []
    for (let round = 0; round < 300_000; round++) kept.push({ round, text: 'x' + round })
    const [space] = getHeapSpaceStatistics().filter((each) => each.space_name === 'new_space')
    console.log(space.space_size)`
  return Number(said(program))
}

test('the young generation stays small while it is held, and grows when it is free', () => {
  const held = sizeAfterGarbage('young.holdYoungGeneration()')
  assert.ok(held <= 4_000_000, `${held} bytes`)
  for (const free of ['', 'young.holdYoungGeneration(); young.freeYoungGeneration()']) {
    const size = sizeAfterGarbage(free)
    assert.ok(size > 2 * held, `${size} bytes`)
  }
})

test('what is in a compile cache is of use to processes that hold it and to those that do not', () => {
  const cache = mkdtempSync(join(tmpdir(), 'mhv-young-'))
  try {
    // V8 takes code from the cache only where this number is the same.
    const program = 'young.holdYoungGeneration(); console.log(cachedDataVersionTag())'
    const plain = said('console.log(cachedDataVersionTag())', cache)
    assert.equal(said(program, cache), plain)
    assert.notEqual(said(program), plain, 'the number tells flags apart')
  } finally {
    rmSync(cache, { recursive: true, force: true })
  }
})
