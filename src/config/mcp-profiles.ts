/** Which sets of tools an MCP server may show: the choices of `http.mcp_profile` and of `mahavishnu mcp --profile`. */
export const PROFILES = ['default', 'full', 'upstream'] as const
export type Profile = (typeof PROFILES)[number]
