import { type MhvError, mhvError } from '../../../../core/errors.ts'

/**
 * Topic names and topic filters: OASIS MQTT 5.0, 4.7 and 1.5.4. mqtt.js checks no topic of a publish, and a broker that
 * is given a bad one ends the connection with everything that is on it.
 */

/** Longest UTF-8 string of the protocol, in bytes: MQTT 5, 1.5.4. Topics and client ids are such strings. */
export const MAX_STRING_BYTES = 65_535

/** Deeper topics are refused by brokers (mosquitto: 200), some of which crashed on them (CVE-2019-11779). */
export const MAX_LEVELS = 200

/** Code points that a UTF-8 string of the protocol must not or should not have: NUL, other controls, non-characters. */
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef]/u

/** Topics that nothing below can say anything against: too short for too many levels, and without + # $. */
const ORDINARY = /^[ -"%-*,-~]{1,199}$/

/** Why a topic may not be published to; undefined when it may. */
export function topicProblem(topic: string): string | undefined {
  if (ORDINARY.test(topic)) return undefined
  const problem = stringProblem(topic)
  if (problem !== undefined) return problem
  if (/[+#]/.test(topic)) return 'has a wildcard (+ or #), which only a filter may have'
  // 4.7.2: such topics are the broker's own.
  if (topic.startsWith('$')) return 'begins with $: these topics belong to the broker'
  return undefined
}

/** Why a filter may not be subscribed to; undefined when it may. Shared subscriptions (`$share/GROUP/FILTER`) may. */
export function filterProblem(filter: string): string | undefined {
  const problem = stringProblem(filter)
  if (problem !== undefined) return problem
  const levels = filter.split('/')
  if (levels[0] === '$share') {
    const [, group, ...rest] = levels
    if (!group || /[+#]/.test(group)) return 'has no valid group after $share/'
    if (rest.length === 0 || rest.join('/') === '') return 'has no filter after $share/GROUP/'
    return filterProblem(rest.join('/'))
  }
  if (levels.slice(0, -1).includes('#')) return 'has # before its last level'
  if (levels.some((level) => level.length > 1 && /[+#]/.test(level))) return 'has a wildcard that is not a whole level'
  return undefined
}

/** Why a text may not be one level of a topic: the id of a device, a gateway, a client. */
export function levelProblem(id: string): string | undefined {
  if (id.includes('/')) return 'has a /'
  return topicProblem(id)
}

/** Text that no rule about characters and bytes can say anything against, which is what nearly all topics are. */
const HARMLESS = /^[ -~]{1,2000}$/

function stringProblem(text: string): string | undefined {
  return (HARMLESS.test(text) ? undefined : characterProblem(text)) ?? levelsProblem(text)
}

function levelsProblem(text: string): string | undefined {
  let levels = 1
  for (let at = text.indexOf('/'); at >= 0; at = text.indexOf('/', at + 1)) levels += 1
  return levels > MAX_LEVELS ? `has ${levels} levels; ${MAX_LEVELS} are the most` : undefined
}

function characterProblem(text: string): string | undefined {
  if (text === '') return 'is empty'
  if (!text.isWellFormed()) return 'is not well-formed Unicode'
  const found = FORBIDDEN.exec(text)
  if (found) return `has the character U+${(found[0].codePointAt(0) ?? 0).toString(16).padStart(4, '0').toUpperCase()}`
  // Each plane ends with two non-characters.
  for (const character of text) {
    if (((character.codePointAt(0) ?? 0) & 0xfffe) === 0xfffe) return 'has a Unicode non-character'
  }
  const bytes = Buffer.byteLength(text)
  return bytes > MAX_STRING_BYTES ? `has ${bytes} bytes; ${MAX_STRING_BYTES} are the most` : undefined
}

/** Throws MHV_MQTT_TOPIC_INVALID for what may not be published to. */
export function checkTopic(topic: string): void {
  const problem = topicProblem(topic)
  if (problem !== undefined) throw topicError('the topic', topic, problem)
}

/** Throws MHV_MQTT_TOPIC_INVALID for what may not be subscribed to. */
export function checkFilter(filter: string): void {
  const problem = filterProblem(filter)
  if (problem !== undefined) throw topicError('the topic filter', filter, problem)
}

/** Throws MHV_MQTT_TOPIC_INVALID for what may not be a level of a topic; `what` names it: `the device id`. */
export function checkLevel(id: string, what: string): void {
  const problem = levelProblem(id)
  if (problem !== undefined) throw topicError(what, id, problem)
}

function topicError(what: string, text: string, problem: string): MhvError {
  return mhvError('MHV_MQTT_TOPIC_INVALID', `${what} ${shown(text)} ${problem}`)
}

/** Short and without anything that a terminal would take for more than text. */
function shown(text: string): string {
  const short = text.length > 100 ? `${text.slice(0, 100)}…` : text
  return JSON.stringify(short.toWellFormed())
}

/** The filter inside a shared subscription; any other one is itself. */
export function plainFilter(filter: string): string {
  return filter.startsWith('$share/') ? filter.split('/').slice(2).join('/') : filter
}

/** Whether a filter takes a topic: 4.7.1 and 4.7.2. Level by level in place, since it is asked for every message. */
export function matchesFilter(filter: string, topic: string): boolean {
  const f = plainFilter(filter)
  // 4.7.2-1: a wildcard in front does not take the broker's own topics.
  if (topic.startsWith('$') && (isLevel(f, 0, levelEnd(f, 0), '+') || isLevel(f, 0, levelEnd(f, 0), '#'))) return false
  let at = 0
  for (let from = 0; from <= f.length; ) {
    const to = levelEnd(f, from)
    if (isLevel(f, from, to, '#')) return true
    if (at > topic.length) return false
    const end = levelEnd(topic, at)
    if (!isLevel(f, from, to, '+') && !sameText(f, from, to, topic, at, end)) return false
    from = to + 1
    at = end + 1
  }
  return at > topic.length
}

/** Where the level ends that begins there. */
function levelEnd(text: string, from: number): number {
  const found = text.indexOf('/', from)
  return found < 0 ? text.length : found
}

function isLevel(text: string, from: number, to: number, character: string): boolean {
  return to - from === 1 && text[from] === character
}

function sameText(a: string, from: number, to: number, b: string, start: number, end: number): boolean {
  if (to - from !== end - start) return false
  for (let at = 0; at < to - from; at += 1) if (a.charCodeAt(from + at) !== b.charCodeAt(start + at)) return false
  return true
}

/** Whether everything that the inner filter takes, the outer one takes as well. */
export function coversFilter(outer: string, inner: string): boolean {
  const o = plainFilter(outer).split('/')
  const i = plainFilter(inner).split('/')
  if (i[0]?.startsWith('$') && (o[0] === '+' || o[0] === '#')) return false
  for (const [index, level] of o.entries()) {
    if (level === '#') return true
    const other = i[index]
    if (other === undefined || other === '#') return false
    if (level === '+') continue
    if (level !== other) return false
  }
  return o.length === i.length
}

/** Whether there is a topic that both take. */
export function overlap(a: string, b: string): boolean {
  return overlapping(plainFilter(a).split('/'), plainFilter(b).split('/'))
}

function overlapping(a: readonly string[], b: readonly string[]): boolean {
  const wild = (levels: readonly string[]) => levels[0] === '+' || levels[0] === '#'
  if ((a[0]?.startsWith('$') && wild(b)) || (b[0]?.startsWith('$') && wild(a))) return false
  for (let index = 0; ; index += 1) {
    const [x, y] = [a[index], b[index]]
    if (x === undefined && y === undefined) return true
    // "a/#" also takes "a".
    if (x === '#' || y === '#') return true
    if (x === undefined || y === undefined) return false
    if (x !== '+' && y !== '+' && x !== y) return false
  }
}
