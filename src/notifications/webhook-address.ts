import { lookup as lookUp } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { type MhvError, mhvError } from '../core/errors.ts'

/**
 * Where a webhook may go. Private networks are where operators have their servers, so those are allowed; what no
 * receiver has is not: link-local addresses (the metadata services of clouds), unspecified, multicast. What counts is
 * the address that is connected to, looked at between name resolution and connect, so that a name that resolves
 * differently the second time gains nothing. http goes to loopback only.
 */

const LOOPBACK = blockList([
  ['127.0.0.0', 8, 'ipv4'],
  ['::1', 128, 'ipv6'],
])

const FORBIDDEN = blockList([
  ['0.0.0.0', 8, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  // Alibaba Cloud's metadata service, and AWS's over IPv6.
  ['100.100.100.200', 32, 'ipv4'],
  ['fd00:ec2::', 32, 'ipv6'],
  ['224.0.0.0', 4, 'ipv4'],
  ['240.0.0.0', 4, 'ipv4'],
  ['::', 128, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
])

function blockList(subnets: readonly (readonly [net: string, prefix: number, family: 'ipv4' | 'ipv6'])[]): BlockList {
  const list = new BlockList()
  for (const subnet of subnets) list.addSubnet(...subnet)
  return list
}

/** The URL of a webhook. Throws MHV_NOTIFY_ADDRESS, never with what may be secret in it (path, query, password). */
export function webhookUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) throw refused('it is no https URL')
  if (url.username !== '' || url.password !== '') throw refused('a URL must not carry credentials')
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) !== 0) refuseAddress(host, url.protocol === 'http:')
  else if (url.protocol === 'http:' && host !== 'localhost')
    throw refused(`http goes only to this machine, not to ${host}`)
  return url
}

/** The system's name resolution, with every address looked at before it is connected to. */
export function guardedLookup(plain: boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookUp(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '')
      try {
        for (const { address } of addresses) refuseAddress(address, plain)
      } catch (refusal) {
        return callback(refusal as NodeJS.ErrnoException, '')
      }
      const [first] = addresses
      if (options.all === true || first === undefined) return callback(null, addresses)
      callback(null, first.address, first.family)
    })
  }
}

function refuseAddress(address: string, plain: boolean): void {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  // IPv4 within IPv6 (::ffff:169.254.169.254) is looked at by BlockList as the IPv4 address that it is.
  if (FORBIDDEN.check(address, family)) throw refused(`${address} is no address of a receiver`)
  if (plain && !LOOPBACK.check(address, family)) throw refused(`http goes only to this machine, not to ${address}`)
}

function refused(why: string): MhvError {
  return mhvError('MHV_NOTIFY_ADDRESS', `the webhook is not sent: ${why}`)
}
