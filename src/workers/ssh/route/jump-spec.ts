import { HOST, USER } from '../names.ts'

/** A jump host as ssh's -J names it. */
export interface JumpSpec {
  readonly host: string
  readonly user?: string
  readonly port?: number
}

/** Most hosts on one way, the last one not counted. */
export const MAX_JUMPS = 8

/** `[user@]host[:port]`, an IPv6 address in brackets, also as `ssh://…`; undefined where it is none of these. */
export function parseJump(text: string): JumpSpec | undefined {
  const found =
    /^(?:ssh:\/\/)?(?:(?<user>[^@]+)@)?(?:\[(?<v6>[^\]]+)\]|(?<host>[^:@[\]]+))(?::(?<port>[0-9]{1,5}))?\/?$/u.exec(
      text,
    )
  const { user, v6, host = v6, port } = found?.groups ?? {}
  if (host === undefined || host.length > 255 || !HOST.test(host)) return undefined
  if (user !== undefined && (user.length > 255 || !USER.test(user))) return undefined
  const number = port === undefined ? undefined : Number(port)
  if (number !== undefined && (number < 1 || number > 65_535)) return undefined
  return { host, ...(user === undefined ? {} : { user }), ...(number === undefined ? {} : { port: number }) }
}
