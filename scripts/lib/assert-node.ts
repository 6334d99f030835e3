/**
 * Imported first by every script: stops where npm silently stayed with an older Node (an install with ignored
 * scripts leaves the `node` package without its binary, and nothing else says so).
 */
const required = 24
if (Number(process.versions.node.split('.')[0]) < required)
  throw new Error(
    `this script runs on Node ${required} or later, not on ${process.versions.node}: start it with npm run`,
  )
