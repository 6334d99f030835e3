import { spawn } from 'node:child_process'
import { root } from '../lib/paths.ts'

/** What a tool printed and how it ended. */
export interface ToolRun {
  readonly code: number
  readonly stdout: string
  /** stdout and stderr as they came, for people. */
  readonly text: string
}

/** Runs a program with argv only, without a shell; never rejects for a failing exit code. */
export function runTool(argv: readonly string[], cwd: string = root): Promise<ToolRun> {
  const [program = '', ...args] = argv
  return new Promise((resolve, reject) => {
    // Without colours and without a terminal: details are also written to files.
    const child = spawn(program, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1' },
    })
    let stdout = ''
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk
      text += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code: code ?? 1, stdout, text }))
  })
}
