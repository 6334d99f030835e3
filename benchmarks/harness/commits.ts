import { readFileSync } from 'node:fs'
import { endianness } from 'node:os'

/** Offset of iChange in the first header of a WAL index: https://sqlite.org/walformat.html, section 2.1. */
const CHANGE_COUNTER = 8

/**
 * Transactions committed to a database in WAL mode so far, as its shared WAL index counts them; only differences mean
 * something. It can be read while the database is in use.
 */
export function commitsOf(database: string): number {
  const index = readFileSync(`${database}-shm`)
  return endianness() === 'LE' ? index.readUInt32LE(CHANGE_COUNTER) : index.readUInt32BE(CHANGE_COUNTER)
}
