import { stat } from 'node:fs/promises'
import type { Composition } from '../app.ts'
import { settingsFor } from '../config/layers.ts'
import { type MhvError, systemCode, toMhvError } from '../core/errors.ts'
import { loadPolicy } from '../governance/policy-file.ts'
import { holderText, instanceHeld } from '../store/lock.ts'
import type { InstancePlace } from '../surfaces/cli/commands.ts'
import type { Doctor, Finding } from '../surfaces/cli/doctor.ts'
import { capacityOf, hostCapacity } from './capacity.ts'
import { exists } from './config-calls.ts'
import { freeBytesIn } from './environment.ts'
import { schedulesFinding } from './schedule-finding.ts'
import { hasNoJournal, type InstanceSetting, instanceFolder, readSetting } from './setting.ts'
import { sshConfigFindings } from './ssh-config-finding.ts'

/** Looks at an instance for `mahavishnu doctor`: folder, settings, inventory, schedules, policy, lock, journal, disk, crypto. */
export function createDoctor(composition: Composition): Doctor {
  return async (place) => {
    const folder = instanceFolder(composition, place.folder)
    const crypto = await cryptoFinding()
    if (!(await exists(folder))) {
      const fix = 'Run `npm run quickstart`, or any operation: it makes the folder.'
      return [crypto, { check: 'folder', level: 'warn', message: `${folder} is not there yet`, fix }]
    }
    const findings = [crypto, await folderFinding(folder)]
    const setting = await settingOf(composition, place, findings)
    if (setting === undefined) return findings
    return [...findings, ...(await instanceFindings(composition, setting))]
  }
}

async function settingOf(composition: Composition, place: InstancePlace, findings: Finding[]) {
  try {
    const setting = await readSetting(composition, { ...place, doing: 'doctor' })
    findings.push({ check: 'settings', level: 'ok', message: 'valid' })
    const targets = setting.inventory.names().length
    findings.push(
      targets > 0
        ? { check: 'inventory', level: 'ok', message: `${targets} targets` }
        : { check: 'inventory', level: 'warn', message: 'no targets', fix: `Add some to ${setting.inventory.file}.` },
    )
    return setting
  } catch (thrown) {
    const error = toMhvError(thrown)
    findings.push(failed(error.code === 'MHV_SCHEDULE_INVALID' ? 'schedules' : 'settings', error))
    return undefined
  }
}

async function instanceFindings(composition: Composition, setting: InstanceSetting): Promise<Finding[]> {
  return [
    await policyFinding(setting),
    await schedulesFinding(composition.registry, setting),
    await lockFinding(setting.folder),
    await journalFinding(composition, setting),
    await diskFinding(setting),
    ...capacityFindings(composition, setting),
    ...(await sshConfigFindings(composition, setting)),
  ]
}

async function cryptoFinding(): Promise<Finding> {
  const check = 'ssh crypto'
  const { nativeCrypto } = await import('../workers/ssh/ssh2-library.ts')
  if (nativeCrypto === 'used') return { check, level: 'ok', message: 'native' }
  if (nativeCrypto === 'missing') {
    const fix = 'With a C++ compiler and Python at hand: `npm rebuild ssh2 cpu-features`.'
    return { check, level: 'warn', message: 'JavaScript only, which is slower: the native addon is not built', fix }
  }
  const fix = 'docs/guides/ssh.md, "Speed", says how to build it so that it is safe.'
  return { check, level: 'warn', message: 'JavaScript only, which is slower: the native addon would crash', fix }
}

async function folderFinding(folder: string): Promise<Finding> {
  const { mode, uid } = await stat(folder)
  const shown = `${folder}, mode ${(mode & 0o777).toString(8).padStart(4, '0')}`
  const mine = process.getuid?.()
  if (mine !== undefined && mine !== 0 && uid !== mine) {
    return {
      check: 'folder',
      level: 'warn',
      message: `${shown}, owned by uid ${uid}`,
      fix: 'Use a folder of your own.',
    }
  }
  if ((mode & 0o077) === 0) return { check: 'folder', level: 'ok', message: shown }
  return { check: 'folder', level: 'warn', message: `${shown}: others can look in`, fix: `chmod 700 ${folder}` }
}

async function policyFinding({ policyFile }: InstanceSetting): Promise<Finding> {
  try {
    const policy = await loadPolicy(policyFile)
    if (policy.rules.length > 0) {
      return { check: 'policy', level: 'ok', message: `${policy.name}, ${policy.rules.length} rules` }
    }
    const fix = `Copy one of the starter policies (observer, operator, agent-safe) to ${policyFile}.`
    return { check: 'policy', level: 'warn', message: 'none, so nothing is allowed', fix }
  } catch (error) {
    return failed('policy', toMhvError(error))
  }
}

async function lockFinding(folder: string): Promise<Finding> {
  const held = await instanceHeld(folder)
  // Somebody at work is not a fault.
  return { check: 'lock', level: 'ok', message: held === undefined ? 'free' : `held by ${holderText(held.holder)}` }
}

async function journalFinding(composition: Composition, setting: InstanceSetting): Promise<Finding> {
  if (await hasNoJournal(setting)) return { check: 'journal', level: 'ok', message: 'none yet' }
  try {
    const store = await composition.openStore({ path: setting.journalFile, readOnly: true })
    const { runs, bytes, format } = await store.facts().finally(store.close)
    return { check: 'journal', level: 'ok', message: `${runs} runs, ${bytes} bytes, format ${format}` }
  } catch (error) {
    return failed('journal', toMhvError(error))
  }
}

async function diskFinding({ folder, loaded }: InstanceSetting): Promise<Finding> {
  const floor = loaded.values.journal.min_free_bytes
  try {
    const free = await freeBytesIn(folder)
    const message = `${free} bytes free; runs are refused below ${floor}`
    if (free < floor) return { check: 'disk', level: 'fail', message, fix: 'Free some disk space.' }
    return { check: 'disk', level: 'ok', message }
  } catch (error) {
    return {
      check: 'disk',
      level: 'warn',
      message: `unknown (${systemCode(error) ?? 'error'})`,
      fix: 'Look at the disk.',
    }
  }
}

/** Whether the limits of workers in processes of their own fit the host; nothing where there are none. */
function capacityFindings({ registry }: Composition, { loaded }: InstanceSetting): Finding[] {
  const check = 'capacity'
  if (!registry.workers.some((worker) => settingsFor(loaded, worker).isolation === 'process')) return []
  const excess = capacityOf(registry, loaded, hostCapacity())
  if (excess.length === 0) return [{ check, level: 'ok', message: 'the limits of the workers fit this host' }]
  const fix = 'Lower the limits under <worker>.process, or move workers to another host.'
  return [{ check, level: 'warn', message: excess.join('; '), fix }]
}

function failed(check: string, error: MhvError): Finding {
  return { check, level: 'fail', message: `${error.code}: ${error.message}`, fix: error.remedy }
}
