/** What a program may import from `mahavishnu`: to embed an instance, or to declare a worker of its own. */
export { type Composition, createInstances, production } from './app.ts'
export type { Clock } from './core/clock.ts'
export type {
  Bandwidth,
  CollectedOutput,
  Logger,
  OperationContext,
  OutputSink,
  Principal,
  Progress,
  ResolvedTarget,
  SecretReference,
  SecretResolver,
  StateChanges,
  Tier,
  WorkerContext,
  WorkerRecords,
  WorkerState,
  WorkerTarget,
} from './core/context.ts'
export type { Envelope, EnvelopeInput } from './core/envelope.ts'
export { ERROR_TABLE, type ErrorCode, type ErrorSpec } from './core/error-table.ts'
export { MhvError, mhvError, type WireError } from './core/errors.ts'
export type { MetricSample, MetricSpec } from './core/metric.ts'
export { defineOperation, type Effect, type OperationSpec } from './core/operation.ts'
export type {
  DumpStream,
  PortName,
  Ports,
  RemoteExec,
  RemoteExecRequest,
  RemoteExecResult,
  RemoteFileStat,
  RemoteFs,
  RemotePty,
  RemotePtyEcho,
  RemotePtyEvents,
  RemotePtyRequest,
  RemotePtySession,
  RemotePtySignal,
  TerminalSessionRequest,
  TerminalSessions,
} from './core/ports.ts'
export {
  MAX_RECORD_BYTES,
  type NewRecord,
  type RecordLimits,
  type RecordPlace,
  type RecordQuery,
  type RecordStats,
  type StoredRecord,
} from './core/records.ts'
export { createRegistry, type Registry } from './core/registry.ts'
export { toOriginalResult, type WorkerResult } from './core/result.ts'
export { secretReference } from './core/secret-reference.ts'
export { type AnyWorker, defineWorker, type WorkerConnection, type WorkerSpec } from './core/worker.ts'
export type { ControlRequest } from './runtime/call-control.ts'
export type { Instance, InstanceOptions, Instances } from './runtime/instance.ts'
export type { InvokeRequest } from './runtime/runtime.ts'
