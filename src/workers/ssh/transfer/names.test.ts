import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { tempLinkName } from '../../../core/local-files.ts'
import { isPattern, joinRemote, matchesName, plainRemote, splitPattern, splitRemote, staysInside } from './names.ts'
import { asideName, isTempName, onceId, resumeId, tempName } from './temp-name.ts'

suite('names of a transfer', () => {
  test('a temporary name fits into 255 bytes, is told apart, and is known again', () => {
    const id = onceId('01JZZZZZZZZZZZZZZZZZABCDEF', '/a')
    for (const name of ['a', 'x'.repeat(255), '☃'.repeat(85), 'new\nline', '💥'.repeat(63)]) {
      const temp = tempName(name, id)
      assert.ok(Buffer.byteLength(temp) <= 255, temp)
      assert.ok(temp.isWellFormed() && isTempName(temp), temp)
    }
    assert.notEqual(tempName(`${'x'.repeat(254)}a`, id), tempName(`${'x'.repeat(254)}b`, id))
    assert.equal(isTempName('.app.part'), false)
  })

  test('what was moved aside, and a link that did not get its name, are known as well', () => {
    const temp = tempName('a', onceId('01JZZZZZZZZZZZZZZZZZABCDEF', '/a'))
    assert.ok(isTempName(asideName(temp)), asideName(temp))
    assert.ok(isTempName(tempLinkName(20)), tempLinkName(20))
    for (const name of ['.app.old', 'a.mahavishnu-1.old', '.mahavishnu-link.txt']) assert.equal(isTempName(name), false)
  })

  test('a part is of the same source facts and target only', () => {
    const facts = { owner: 'o', direction: 'upload', source: 'a', size: 1, mtime: 2, target: 'b' }
    assert.equal(resumeId(facts), resumeId({ ...facts }))
    for (const other of [
      { size: 2 },
      { mtime: 3 },
      { target: 'c' },
      { source: 'd' },
      { owner: 'p' },
      { direction: 'download' },
    ])
      assert.notEqual(resumeId(facts), resumeId({ ...facts, ...other }))
  })

  test('a path is split at its first pattern', () => {
    assert.deepEqual(splitPattern('/var/log/*.log'), { base: '/var/log', patterns: ['*.log'] })
    assert.deepEqual(splitPattern('*/x?'), { base: '.', patterns: ['*', 'x?'] })
    assert.deepEqual(splitPattern('/*'), { base: '/', patterns: ['*'] })
    assert.deepEqual(splitPattern('a/b'), { base: 'a/b', patterns: [] })
    assert.deepEqual(splitPattern('a\\*/b\\?\\\\/c d/*'), { base: 'a*/b?\\/c d', patterns: ['*'] })
    assert.deepEqual(splitPattern('x/a\\*'), { base: 'x/a*', patterns: [] })
    // Where there is nothing to take the meaning from, a backslash is a part of the name.
    assert.deepEqual(splitPattern('we\\ird/\\\\'), { base: 'we\\ird/\\\\', patterns: [] })
    assert.deepEqual([isPattern('a\\*'), isPattern('a\\\\*'), isPattern('a*')], [false, true, true])
    assert.deepEqual(
      [matchesName('*', '.hidden'), matchesName('.*', '.hidden'), matchesName('*', 'x')],
      [false, true, true],
    )
  })

  test('remote paths are taken apart and put together', () => {
    assert.deepEqual(splitRemote('a'), { folder: '.', name: 'a' })
    assert.deepEqual(splitRemote('/a'), { folder: '/', name: 'a' })
    assert.deepEqual(splitRemote('/a/b'), { folder: '/a', name: 'b' })
    assert.deepEqual([joinRemote('.', 'a'), joinRemote('/', 'a'), joinRemote('x/', 'a')], ['a', '/a', 'x/a'])
  })

  test('spellings of a remote path that change nothing are one', () => {
    for (const path of ['a/b', './a/b', 'a//b', '././/a/././/b', 'a/./b']) assert.equal(plainRemote(path), 'a/b', path)
    for (const path of ['/a/b', '../a', 'a/../b', '.a/b.', 'a./b']) assert.equal(plainRemote(path), path)
    assert.equal(plainRemote('//a'), '/a')
  })

  test('a link that would lead out of its tree is told by its text', () => {
    for (const [depth, target, inside] of [
      [0, 'a', true],
      [1, '../a', true],
      [2, './..//../a/b', true],
      [0, 'a/../b', false],
      [3, '../a/..', false],
      [0, '..', false],
      [1, 'x/../../..', false],
      [5, '/etc', false],
      [0, '', false],
      [2, 'a\0', false],
    ] as const)
      assert.equal(staysInside(depth, target), inside, target)
  })
})
