/** Where characters begin and end in UTF-8, for texts that are cut by bytes. RFC 3629, section 3. */

/** Bytes of the character that this byte begins: 1 to 4; 0 for a byte from within a character. */
function lengthFrom(lead: number): number {
  if (lead < 0x80) return 1
  if (lead < 0xc0) return 0
  if (lead < 0xe0) return 2
  return lead < 0xf0 ? 3 : 4
}

/** How many bytes at the end (0 to 3) begin a character of which the rest is still to come. */
export function incompleteEnd(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const length = lengthFrom(bytes[bytes.length - back] as number)
    if (length === 0) continue
    return length > back ? back : 0
  }
  return 0
}

/** How many bytes at the beginning (0 to 3) end a character that began before. */
export function brokenStart(bytes: Uint8Array): number {
  let count = 0
  while (count < Math.min(3, bytes.length) && lengthFrom(bytes[count] as number) === 0) count++
  return count
}

/** The bytes as text of at most so many bytes, cut between characters. */
export function cutText(text: string, maxBytes: number): string {
  // A character takes at least one byte, so what is beyond cannot fit in any case.
  const bytes = Buffer.from(text.slice(0, maxBytes))
  const cut = bytes.subarray(0, maxBytes)
  return cut.subarray(0, cut.length - incompleteEnd(cut)).toString('utf8')
}
