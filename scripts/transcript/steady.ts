/**
 * Makes the output of a quickstart comparable: what differs from run to run becomes a fixed example. A run that had its slot
 * within the millisecond has no line `waited`, so none is kept.
 */
export function steady(text: string, folder: string): string {
  const ids = new Map<string, string>()
  const exampleId = (id: string) => {
    // Each id keeps being itself, and the first one is always the same.
    if (!ids.has(id)) ids.set(id, `01K5E2W9QZ3V7M4T8N6R1XJYH${ids.size}`)
    return ids.get(id) ?? id
  }
  return text
    .replaceAll(folder, '/home/you/mahavishnu/.quickstart')
    .replace(/\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/g, exampleId)
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, '2026-01-01T12:00:00.000Z')
    .replace(/http:\/\/127\.0\.0\.1:\d+/g, 'http://127.0.0.1:7420')
    .replace(/(?<!http:\/\/)127\.0\.0\.1:\d+/g, '127.0.0.1:2222')
    .replace(/Hello from [\w.-]+, as [\w.-]+/g, 'Hello from Linux, as you')
    .replace(/user:\d+/g, 'user:1000')
    .replace(/\(\/\S*sshd\)/g, '(/usr/sbin/sshd)')
    .replace(/\b\d+(\.\d+)? (s|ms)\b/g, '0.1 s')
    .replace(/^waited .*\n/gm, '')
    .replace(/("(?:duration_seconds|queue_seconds)": )[\d.]+/g, '$10.1')
    .replace(/("pid": )\d+/g, '$14242')
    .replace(/[ \t]+$/gm, '')
}
