import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/** Bytes of a file with a key; one of RSA with 16,384 bits has 13,000. */
export const MAX_KEY_BYTES = 256 * 1024

/** A file that is there and is not one to read. The message says why, to follow its path: "is no regular file". */
export class UnsuitableFile extends Error {}

/**
 * Reads a whole regular file. A named pipe without a writer is not waited for, and no more than `maxBytes` and one piece
 * are taken into memory, even if the file grows meanwhile. The bytes are in one buffer of their own, to be wiped by
 * whoever needs that.
 *
 * Throws UnsuitableFile, and the system's error where the file cannot be opened or read.
 */
export async function readRegular(path: string, maxBytes: number): Promise<Buffer> {
  // Without O_NONBLOCK a named pipe would hold up a thread of the pool until somebody writes to it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw new UnsuitableFile('is no regular file')
    if (stats.size > maxBytes) throw tooLarge(maxBytes)
    return await readWhole(file, stats.size, maxBytes)
  } finally {
    await file.close()
  }
}

async function readWhole(file: FileHandle, expected: number, maxBytes: number): Promise<Buffer> {
  // One more than expected, so that the read that finds the end needs no larger buffer.
  let bytes = Buffer.alloc(expected + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, length)
    length += bytesRead
    if (bytesRead === 0) return bytes.subarray(0, length)
    if (length > maxBytes) throw tooLarge(maxBytes)
    if (length === bytes.length) {
      const larger = Buffer.alloc(Math.min(bytes.length * 2, maxBytes + 1))
      bytes.copy(larger)
      bytes.fill(0)
      bytes = larger
    }
  }
}

function tooLarge(maxBytes: number): UnsuitableFile {
  return new UnsuitableFile(`is larger than ${maxBytes} bytes`)
}
