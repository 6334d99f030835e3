/** Which sets of tools a server may show. In a file of its own, since the command line names them without loading MCP. */
export const PROFILES = ['default', 'full', 'upstream'] as const
export type Profile = (typeof PROFILES)[number]
