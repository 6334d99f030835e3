import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { SecretResolver } from '../../../../core/context.ts'
import { mhvError, outOfDescriptors, systemCode } from '../../../../core/errors.ts'
import type { MqttTarget } from '../../settings.ts'
import { localPath } from './local-path.ts'

/** What a connection is made with; read anew for each, so that renewed certificates and passwords are used. */
export interface Credentials {
  readonly username?: string
  readonly password?: string
  readonly ca?: Buffer
  readonly cert?: Buffer
  readonly key?: Buffer
  readonly passphrase?: string
}

/** Throws MHV_MQTT_KEY_INVALID, which names the file and nothing of what is in it, or MHV_SECRET_UNRESOLVED. */
export async function readCredentials(
  target: MqttTarget,
  secrets: SecretResolver,
  folder: string,
): Promise<Credentials> {
  const secret = async (reference: MqttTarget['password']) =>
    reference === undefined ? undefined : (await secrets.resolve(reference)).reveal()
  const file = async (path: string | undefined) => (path === undefined ? undefined : read(localPath(path, folder)))
  const [password, passphrase, ca, cert, key] = await Promise.all([
    secret(target.password),
    secret(target.key_passphrase),
    file(target.ca_file),
    file(target.cert_file),
    file(target.key_file),
  ])
  if (ca !== undefined) check(target.ca_file, 'has no certificate in PEM', () => new X509Certificate(ca))
  if (cert !== undefined) check(target.cert_file, 'has no certificate in PEM', () => new X509Certificate(cert))
  if (key !== undefined) {
    const why = 'has no private key in PEM that opens with the passphrase that is given'
    check(target.key_file, why, () => createPrivateKey({ key, passphrase }))
  }
  return { username: target.username, password, ca, cert, key, passphrase }
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    const why = `${path} cannot be read (${systemCode(error) ?? 'unknown error'})`
    throw outOfDescriptors(error, path) ?? mhvError('MHV_MQTT_KEY_INVALID', why, { details: { file: path } })
  }
}

/** OpenSSL's own words may quote the file: ours do not. */
function check(path: string | undefined, why: string, parse: () => unknown): void {
  try {
    parse()
  } catch {
    throw mhvError('MHV_MQTT_KEY_INVALID', `${path} ${why}`, { details: { file: path } })
  }
}
