import { type SettingField, settingFields, settingsSchema } from '../../src/config/schema.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'

const registry = createRegistry(workers)

const cell = (text: string) => text.replaceAll('|', '\\|')

function defaultText({ default: value }: SettingField): string {
  return value === undefined ? 'none' : `\`${cell(JSON.stringify(value))}\``
}

function row(field: SettingField): string {
  const variable = field.env === undefined ? 'none' : `\`${field.env}\``
  return `| \`${field.key}\` | ${cell(field.description)} | ${cell(field.type)} | ${defaultText(field)} | ${variable} |`
}

function section(name: string, description: string, fields: readonly SettingField[]): string {
  const head = ['| key | what it is | takes | default | variable |', '| --- | --- | --- | --- | --- |']
  const sentence = `${description.charAt(0).toUpperCase()}${description.slice(1)}.`
  return [`## ${name}`, '', sentence, '', ...head, ...fields.map(row)].join('\n')
}

/** The reference page of all settings. */
export function renderSettingsPage(): string {
  const fields = settingFields(registry)
  const sections = Object.entries(settingsSchema(registry).shape).map(([name, schema]) => {
    const inside = fields.filter((field) => field.path[0] === name)
    return section(name, schema.description ?? '', inside)
  })
  return [
    '<!-- Made by npm run gen from the schemas of the settings. -->',
    '# Settings',
    '',
    'Every setting with its default and its variable. `mahavishnu config explain KEY` shows where a value comes from;',
    'the [guide](../guides/settings.md) says how the layers work.',
    '',
    sections.join('\n\n'),
    '',
  ].join('\n')
}

export const generators: readonly Generator[] = [{ path: 'docs/reference/settings.md', render: renderSettingsPage }]
