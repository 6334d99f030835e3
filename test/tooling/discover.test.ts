import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { allTestFiles, selectFiles } from '../../scripts/test/discover.ts'

describe('the test files', () => {
  const files = allTestFiles()

  test('of whole programs start before unit tests, which take less time', () => {
    const first = (folder: string) => files.findIndex((file) => file.startsWith(folder))
    const places = ['test/chaos/', 'test/e2e/', 'test/contract/', 'test/tooling/', 'src/'].map(first)
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

  test('are each there once, and a fixture is none', () => {
    assert.equal(new Set(files).size, files.length)
    assert.deepEqual(selectFiles(files, ['fixtures/']), [])
    assert.deepEqual(selectFiles(files, ['tooling/discover']), ['test/tooling/discover.test.ts'])
  })
})
