#!/usr/bin/env node
'use strict'
// Old-fashioned on purpose: it has to load in a Node that cannot run the rest, and say so.

const fs = require('node:fs')
const path = require('node:path')
const url = require('node:url')

/** sysexits.h EX_CONFIG: something about the installation has to be changed first. */
const exitNotReady = 78
const requiredMajor = 24
const entry = path.join(__dirname, '../dist/bin.js')

/** @param {string} message */
function refuse(message) {
  process.stderr.write(`mahavishnu: ${message}\n`)
  process.exitCode = exitNotReady
}

function isOnlyVersion() {
  return process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')
}

if (Number(process.versions.node.split('.')[0]) < requiredMajor) {
  refuse(
    `needs Node ${requiredMajor} or later, this is ${process.versions.node}.\n` +
      `  In a checkout, "npm run quickstart" fetches it. Elsewhere, "npm install node@${requiredMajor}" puts it into\n` +
      '  node_modules/.bin, which npx and npm scripts use first; or install it the way you install programs.',
  )
} else if (isOnlyVersion()) {
  // Without loading the program: scripts and health checks ask for this often.
  const manifest = fs.readFileSync(path.join(__dirname, '../package.json'), 'utf8')
  process.stdout.write(`${JSON.parse(manifest).version}\n`)
} else if (!fs.existsSync(entry)) {
  refuse('is not built: run "npm run build" in the checkout (dist/bin.js is missing).')
} else {
  import(url.pathToFileURL(entry).href).catch((error) => {
    refuse(`could not start: ${error instanceof Error ? error.stack : error}`)
  })
}
