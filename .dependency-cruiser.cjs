// @ts-check
/**
 * The layers of the architecture: an arrow is an import, and nothing points up. Type-only imports count too.
 * Tests are exempt. `npm run lint` plants a violation of every layer rule and fails if one is not reported.
 */

const tests = '\\.test\\.ts$'

/** Folders of src that a folder's files may import from, beside the folder itself. */
const mayImport = {
  core: [],
  config: ['core'],
  store: ['core'],
  resilience: ['core'],
  governance: ['core'],
  telemetry: ['core'],
  notifications: ['core'],
  artifacts: ['core'],
  adapters: ['core'],
  runtime: [
    'core',
    'config',
    'store',
    'resilience',
    'governance',
    'telemetry',
    'notifications',
    'artifacts',
    'adapters',
  ],
  // The store only as types: the next rule.
  surfaces: ['core', 'config', 'governance', 'telemetry', 'runtime', 'store'],
  workers: ['core', 'artifacts', 'adapters'],
  testing: ['core', 'store', 'runtime'],
}

/** @type {import('dependency-cruiser').IForbiddenRuleType[]} */
const layers = Object.entries(mayImport).map(([folder, allowed]) => ({
  name: `layer-${folder}`,
  comment: `src/${folder} imports only from itself${allowed.length > 0 ? `, ${allowed.join(', ')}` : ''}`,
  severity: 'error',
  from: { path: `^src/${folder}/`, pathNot: tests },
  to: { path: '^src/', pathNot: `^src/(${[folder, ...allowed].join('|')})/` },
}))

module.exports = {
  forbidden: [
    ...layers,
    {
      name: 'surfaces-store-types-only',
      comment: 'a surface asks the runtime; of the store it knows the shapes',
      severity: 'error',
      from: { path: '^src/surfaces/', pathNot: tests },
      to: { path: '^src/store/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'worker-knows-no-other',
      comment: 'a worker needs a port of core that another provides, never the other worker',
      severity: 'error',
      from: { path: '^src/workers/([^/]+)/', pathNot: tests },
      to: { path: '^src/workers/', pathNot: '^src/workers/$1/' },
    },
    {
      name: 'nothing-imports-the-root',
      comment: 'bin and app know everybody, so nobody may know them',
      severity: 'error',
      from: { path: '^src/', pathNot: [tests, '^src/(index|bin|app)\\.ts$', '^src/app/'] },
      to: { path: '^src/(bin\\.ts|app\\.ts|app/)' },
    },
    {
      name: 'no-tests-in-the-product',
      comment: 'what is shipped imports no test file and nothing outside src',
      severity: 'error',
      from: { path: '^src/', pathNot: tests },
      to: { path: [tests, '^(test|scripts|benchmarks|examples)/'] },
    },
    {
      name: 'no-tools-in-the-product',
      comment: 'what is shipped imports only dependencies, no devDependencies',
      severity: 'error',
      from: { path: '^src/', pathNot: tests },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-cycles',
      comment: 'files that load each other are one file; types of one folder may refer to each other',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-unresolved',
      comment: 'an import that leads nowhere',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
