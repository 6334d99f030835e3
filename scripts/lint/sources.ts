/** Checks of our own that no linter has: the house rules about size, names, output, and what must not be written down. */
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { homedir, hostname } from 'node:os'
import { dirname, extname } from 'node:path'
import { root } from '../lib/paths.ts'

const maxLines = 400

/** Says nothing about what is inside. */
const emptyNames = /(^|\/)(utils?|helpers?|common|misc)(\.[^/]*)?(\/|$)/

/** stdout carries data, and MCP on stdio: only these may write to it. */
const mayWriteToStdout = /^src\/(surfaces\/cli\/|bin\.ts$)/

/** A package source other than the public default would break, and give away, somebody's network. */
const packageHost = /https?:\/\/[^\s/"'`]*(registry|artifactory|nexus|mirror|proxy\.golang)[^\s/"'`]*/i

const binary = new Set(['.png', '.jpg', '.gif', '.ico', '.tgz', '.gz', '.zst', '.age', '.db', '.sqlite'])

/** One finding: a file, a line (0 for the whole file), and what is wrong with it. */
export interface Finding {
  readonly file: string
  readonly line: number
  readonly message: string
}

/** Blanks comments, keeping lines: `process.stdout` in a docstring is no output. Strings with `//` are cut, which hides no call. */
function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' '))
    .replace(/(^|[^:'"`\w])\/\/[^\n]*/g, '$1')
}

/** House rules for one file of `src`, given by its path from the checkout. */
export function checkSource(file: string, text: string): readonly Finding[] {
  const findings: Finding[] = []
  const lines = text.split('\n')
  const count = text.endsWith('\n') ? lines.length - 1 : lines.length
  if (count > maxLines && !file.includes('.generated.'))
    findings.push({ file, line: 0, message: `${count} lines; a file has at most ${maxLines}` })
  if (emptyNames.test(file))
    findings.push({ file, line: 0, message: 'a name says what is inside, not "utils" or the like' })
  if (!mayWriteToStdout.test(file) && !file.endsWith('.test.ts')) {
    for (const [index, line] of withoutComments(text).split('\n').entries()) {
      if (/\bprocess\s*\.\s*stdout\b|\bconsole\s*\./.test(line))
        findings.push({ file, line: index + 1, message: 'writes to stdout, which belongs to data: use the log' })
    }
  }
  return findings
}

/**
 * Words that name the machine the checkout lies on, found out at run time so that they need not be written here.
 * Short or customary ones (`/root`, `localhost`) are left out: documentation may use them.
 */
export function machineWords(): readonly string[] {
  const words = [root, `${dirname(root)}/`, hostname(), homedir()]
  const customary = new Set(['/', '/home/', '/root', '/tmp/', '/src/', '/app/', '/opt/', '/usr/', '/srv/', 'localhost'])
  return words.filter((word) => word.length > 4 && !customary.has(word))
}

/** Finds a machine's own words and package hosts in any text file. */
export function checkPrivateWords(file: string, text: string, words: readonly string[]): readonly Finding[] {
  const findings: Finding[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const word = words.find((candidate) => line.includes(candidate))
    if (word !== undefined) findings.push({ file, line: index + 1, message: `names this machine: ${word}` })
    if (packageHost.test(line)) findings.push({ file, line: index + 1, message: 'names a package host' })
  }
  return findings
}

/** Every file git would commit: tracked ones and new ones that are not ignored. */
export function projectFiles(): readonly string[] {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const { status, stdout } = spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  // Unpacked from an archive, there is no git to ask.
  const files = status === 0 ? stdout.split('\0') : globSync('**', { cwd: root, exclude: notOurs })
  return [...new Set(files)].filter((file) => file !== '').sort()
}

const notOurs = ['node_modules', 'dist', '.cache', 'coverage', '.git']

/** A file's text; undefined where it was deleted, is a link, or holds no text. */
function textOf(file: string): string | undefined {
  if (binary.has(extname(file))) return undefined
  try {
    const text = readFileSync(`${root}/${file}`, 'utf8')
    return text.includes('\0') ? undefined : text
  } catch {
    return undefined
  }
}

/** All own checks over the whole checkout. */
export function checkProject(): readonly Finding[] {
  const words = machineWords()
  return projectFiles().flatMap((file) => {
    const text = textOf(file)
    if (text === undefined) return []
    const own = /^src\/.*\.ts$/.test(file) ? checkSource(file, text) : []
    return [...own, ...checkPrivateWords(file, text, words)]
  })
}
