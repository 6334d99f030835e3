/** In a file of its own, since the command line names them without loading MCP. */
export { PROFILES, type Profile } from '../../config/mcp-profiles.ts'
