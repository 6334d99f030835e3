import { getDefaultEnvironment } from '@modelcontextprotocol/client/stdio'

/**
 * What a client gives to a server that it starts, and the compile cache of the test run: a client passes on little of
 * its own environment, and a server that compiles everything anew takes three times as long to start.
 */
export function clientEnvironment(): Record<string, string> {
  const { NODE_COMPILE_CACHE } = process.env
  return { ...getDefaultEnvironment(), ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) }
}
