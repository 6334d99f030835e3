import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { allTestFiles, selectFiles } from '../../scripts/test/discover.ts'

describe('the test files', () => {
  const files = allTestFiles()

  test('of whole programs start before unit tests, which take less time', () => {
    const first = (folder: string) => files.findIndex((file) => file.startsWith(folder))
    const places = ['test/e2e/', 'test/tooling/', 'src/'].map(first)
    assert.ok(!places.includes(-1))
    assert.deepEqual(
      places,
      places.toSorted((one, other) => one - other),
    )
    assert.deepEqual(
      files.slice(first('src/')).filter((file) => !file.startsWith('src/')),
      [],
    )
  })

  test('that keep the machine busy and those that wait take turns', () => {
    const programs = files.slice(
      0,
      files.findIndex((file) => file.startsWith('test/tooling/')),
    )
    const folders = ['test/chaos/', 'test/e2e/', 'test/contract/']
    const half = programs.slice(0, programs.length / 2)
    for (const folder of folders) {
      const share = half.filter((file) => file.startsWith(folder)).length
      const all = programs.filter((file) => file.startsWith(folder)).length
      assert.ok(Math.abs(share - all / 2) <= 1, `${share} of ${all} files of ${folder} are in the first half`)
    }
  })

  test('are each there once, and a fixture is none', () => {
    assert.equal(new Set(files).size, files.length)
    assert.deepEqual(selectFiles(files, ['fixtures/']), [])
    assert.deepEqual(selectFiles(files, ['tooling/discover']), ['test/tooling/discover.test.ts'])
  })
})
