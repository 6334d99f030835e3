/** Reason codes of MQTT 5 (2.4 of the standard) from 0x80 up, and how 3.1.1 says the same. */
const REASONS: Readonly<Record<number, string>> = {
  128: 'unspecified error',
  129: 'malformed packet',
  130: 'protocol error',
  131: 'implementation specific error',
  132: 'unsupported protocol version',
  133: 'client id not valid',
  134: 'bad user name or password',
  135: 'not authorized',
  136: 'server unavailable',
  137: 'server busy',
  138: 'banned',
  139: 'server shutting down',
  140: 'bad authentication method',
  141: 'keep alive timeout',
  142: 'session taken over by another client with the same id',
  143: 'topic filter invalid',
  144: 'topic name invalid',
  145: 'packet identifier in use',
  147: 'receive maximum exceeded',
  149: 'packet too large',
  150: 'message rate too high',
  151: 'quota exceeded',
  152: 'administrative action',
  153: 'payload format invalid',
  154: 'retain not supported',
  155: 'QoS not supported',
  156: 'use another server',
  157: 'server moved',
  158: 'shared subscriptions not supported',
  159: 'connection rate exceeded',
  160: 'maximum connect time',
  161: 'subscription identifiers not supported',
  162: 'wildcard subscriptions not supported',
}

/** `reason 135: not authorized` */
export function reasonText(code: number): string {
  return `reason ${code}: ${REASONS[code] ?? 'not known'}`
}

/** Return codes of a CONNACK of 3.1.1 (3.2.2.3 of that standard) as reason codes of 5. */
const RETURN_CODES: Readonly<Record<number, number>> = { 1: 132, 2: 133, 3: 136, 4: 134, 5: 135 }

export function connackReason(code: number): number {
  return RETURN_CODES[code] ?? code
}

export const NOT_AUTHORIZED = 135
export const BAD_CREDENTIALS = 134
export const PACKET_TOO_LARGE = 149
export const SESSION_TAKEN_OVER = 142
/** Reasons for which a broker ends the connection because of a message that it was sent. */
export const MESSAGE_FAULTS: ReadonlySet<unknown> = new Set([NOT_AUTHORIZED, 144, PACKET_TOO_LARGE, 153, 154, 155])
/** Refusals of a message that another try may not meet: its packet id was in use, or a quota was used up. */
export const MESSAGE_PASSING: ReadonlySet<unknown> = new Set([145, 151])
/** Refusals of a connection that may be gone a little later. */
export const PASSING: ReadonlySet<number> = new Set([136, 137, 139, 141, 151, 156, 159, 160])
