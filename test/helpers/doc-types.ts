import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { inRoot } from '../../scripts/lib/paths.ts'

/** Type-checks a program as the project's own. @returns the compiler's messages, empty if there are none */
export function typeProblems(text: string): string {
  // Inside the checkout, so that packages are found.
  const folder = inRoot('.cache', `docs-${process.pid}`)
  const file = join(folder, 'block.ts')
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, text)
  try {
    const options: ts.CompilerOptions = {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      target: ts.ScriptTarget.ES2024,
      module: ts.ModuleKind.NodeNext,
      types: ['node'],
      typeRoots: [inRoot('node_modules/@types')],
    }
    const problems = ts.getPreEmitDiagnostics(ts.createProgram([file], options))
    return problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')).join('\n')
  } finally {
    rmSync(folder, { recursive: true })
  }
}
