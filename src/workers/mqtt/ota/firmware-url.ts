import { type MhvError, mhvError } from '../../../core/errors.ts'
import type { OtaSettings } from './settings.ts'

/** What servers and proxies take for a / or a \ later than a check sees it, also where they decode more than once. */
const HIDDEN_SEPARATOR = /%(?:25)*(?:2f|5c)/i
/** A step up that some see later: encoded twice, or with parameters, which servlet containers cut off. */
const HIDDEN_STEP = /\/(?:\.|%(?:25)*2e){1,2}(?:;|%(?:25)*3b|\/|$)/i
/** NUL, line breaks and the like. */
const CONTROL = /%(?:25)*(?:[01][0-9a-f]|7f)/i

/**
 * The URL as devices get it: what was checked and what is sent are the same text, in the standard's own spelling (WHATWG
 * URL). Throws MHV_MQTT_OTA_URL_DENIED.
 */
export function checkFirmwareUrl(text: string, { allowed_urls, allow_http }: OtaSettings): string {
  if (!URL.canParse(text)) throw denied('it is no URL')
  const url = new URL(text)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw denied('it is neither https nor http')
  if (url.protocol === 'http:' && !allow_http) {
    throw denied('it is http, which mqtt.ota.allow_http does not allow')
  }
  if (url.username !== '' || url.password !== '') throw denied('it has credentials in it, which every device would get')
  if (url.hash !== '') throw denied('it has a fragment')
  if (HIDDEN_SEPARATOR.test(url.pathname)) throw denied('its path has an encoded separator')
  if (HIDDEN_STEP.test(url.pathname)) throw denied('its path has a hidden step up')
  if (CONTROL.test(url.pathname)) throw denied('its path has an encoded control character')
  if (allowed_urls.length === 0) throw denied('mqtt.ota.allowed_urls allows none')
  if (!allowed_urls.some((allowed) => covers(allowed, url))) {
    throw denied(`no entry of mqtt.ota.allowed_urls covers ${url.origin}${url.pathname}`)
  }
  return url.href
}

/** A folder covers what is below it, anything else itself alone: with its own query where it has one. */
function covers(entry: string, url: URL): boolean {
  const allowed = new URL(entry)
  if (allowed.origin !== url.origin) return false
  // A host alone is no folder, though it is written as one in a URL.
  if (entry.endsWith('/')) return url.pathname.startsWith(allowed.pathname)
  return url.pathname === allowed.pathname && (allowed.search === '' || allowed.search === url.search)
}

function denied(why: string): MhvError {
  return mhvError('MHV_MQTT_OTA_URL_DENIED', `the address of the firmware: ${why}`)
}
