import { extname } from 'node:path'

/**
 * The URL of a module that is started rather than imported: a thread or a child process. Import specifiers are
 * rewritten by the build, URLs are not, so the module is named without its extension and gets the caller's: `.ts` in
 * the sources, `.js` in `dist`.
 *
 * @param caller `import.meta.url` of the calling module
 * @param module path of the module relative to the caller, with no extension: `./sqlite-writer`
 */
export function entryPoint(caller: string, module: string): URL {
  return new URL(module + extname(new URL(caller).pathname), caller)
}
