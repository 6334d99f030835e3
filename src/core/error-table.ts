/**
 * The one table of errors. A code never changes its meaning; docs/reference/errors.md is generated from here.
 *
 * - `category`: the six classes of the assessment's ADR 003, plus `validation`.
 * - `http`: status of the problem+json answer.
 * - `exit`: exit code of the CLI. Ours start at 200, so that a remote command's 0-125 passes through unharmed.
 * - `phase`: what the error says about the effect: `before-effect` (nothing was changed), `after-effect` (it was
 *   applied), `unknown` (it may have been).
 * - `retryable`: whether the same call may succeed later without anybody changing anything.
 */

export const ERROR_CATEGORIES = ['transient', 'permanent', 'resource', 'permission', 'network', 'validation'] as const
export type ErrorCategory = (typeof ERROR_CATEGORIES)[number]

export const ERROR_PHASES = ['before-effect', 'after-effect', 'unknown'] as const
export type ErrorPhase = (typeof ERROR_PHASES)[number]

export interface ErrorSpec {
  readonly category: ErrorCategory
  readonly http: number
  readonly exit: number
  readonly phase: ErrorPhase
  readonly retryable: boolean
  /** What happened, in general: one sentence. */
  readonly summary: string
  /** What to do about it: one sentence. */
  readonly remedy: string
}

/** Exit codes of the CLI for our own failures; docs/reference/cli.md is generated from here. */
export const EXIT = {
  ok: 0,
  remote_above_125: 126,
  internal: 200,
  input: 201,
  permission: 202,
  network: 203,
  resource: 204,
  transient: 205,
  permanent: 206,
  timeout: 207,
  cancelled: 208,
  unknown_effect: 209,
  configuration: 210,
  locked: 211,
} as const

type Row = readonly [
  category: ErrorCategory,
  http: number,
  exit: number,
  phase: ErrorPhase,
  retryable: boolean,
  summary: string,
  remedy: string,
]

const before = 'before-effect'
const after = 'after-effect'
const unknown = 'unknown'

// biome-ignore format: one row per code reads as the table it is
const ROWS = {
  // input, names and idempotency
  MHV_INPUT_INVALID: ['validation', 400, EXIT.input, before, false, 'The input does not fit the schema of the operation.', 'Correct the field named in the message; `mahavishnu COMMAND --help` shows the fields.'],
  MHV_INPUT_SECRET: ['validation', 400, EXIT.input, before, false, 'The input contains the value of a secret.', 'Pass a reference to the secret (`env:NAME`, `file:PATH`) instead of its value.'],
  MHV_CLI_USAGE: ['validation', 400, EXIT.input, before, false, 'The command line was not understood.', 'See `mahavishnu --help`.'],
  MHV_CLI_NOT_CONFIRMED: ['validation', 400, EXIT.input, before, false, 'What may destroy something was not confirmed.', 'Type the word that is asked for, or add --yes when it is wanted without asking.'],
  MHV_OPERATION_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no such operation.', 'See `mahavishnu workers list` for the operations there are.'],
  MHV_WORKER_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no such worker.', 'See `mahavishnu workers list`.'],
  MHV_TARGET_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'The inventory has no such target.', 'Add the target to settings/inventory.yaml, or use one of the names that it has.'],
  MHV_TARGET_REQUIRED: ['validation', 400, EXIT.input, before, false, 'The operation needs a target.', 'Name a target of the inventory.'],
  MHV_TARGET_UNSUPPORTED: ['validation', 400, EXIT.input, before, false, 'The target has no connection details for this worker.', "Add a block with the worker's name to the target in settings/inventory.yaml."],
  MHV_RUN_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'The journal has no such run.', 'See `mahavishnu runs list` for the runs there are.'],
  MHV_IDEMPOTENCY_MISMATCH: ['validation', 409, EXIT.input, before, false, 'The idempotency key was used before with another input.', 'Use a new key for a new input, or repeat the first input exactly.'],
  MHV_SELECTOR_INVALID: ['validation', 400, EXIT.input, before, false, 'The selector of targets cannot be read.', 'Correct it at the character that the message names; docs/guides/batches.md shows what may stand there.'],
  MHV_SELECTOR_EMPTY: ['validation', 400, EXIT.input, before, false, 'The selector takes no target.', 'See `mahavishnu workers list` for the targets of the worker, and correct the selector.'],
  MHV_PLAN_CHANGED: ['validation', 409, EXIT.input, before, false, 'What would be done is not what the plan says any longer.', 'Make the plan again, look at it, and apply the new one.'],
  MHV_BATCH_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'The journal has no such batch.', 'See `mahavishnu batches list` for the batches there are.'],
  MHV_BATCH_STATE: ['validation', 409, EXIT.input, before, false, 'The batch is in a state in which this cannot be done.', 'See `mahavishnu batches show BATCH` for how far it is.'],
  MHV_BATCH_FAILURES: ['permanent', 409, EXIT.permanent, unknown, false, 'More targets of the batch failed than may, so the rest was left alone.', 'See `mahavishnu batches show BATCH`, remove the cause, then run `mahavishnu batches rerun BATCH`.'],
  MHV_PORT_MISSING: ['permanent', 501, EXIT.permanent, before, false, 'No worker provides a capability that the operation needs.', 'Enable the worker that provides it.'],

  // who may
  MHV_POLICY_DENIED: ['permission', 403, EXIT.permission, before, false, 'The policy does not allow this.', 'Add the rule printed with this error to the policy file, if it should be allowed.'],
  MHV_APPROVAL_REQUIRED: ['permission', 403, EXIT.permission, before, false, 'The policy asks for an approval.', 'Add the rule printed with this error to the policy file, if it should be allowed without asking.'],
  MHV_POLICY_INVALID: ['validation', 500, EXIT.configuration, before, false, 'The policy file cannot be used.', 'Correct the line named in the message; docs/guides/policy.md shows the format.'],

  // room and time
  MHV_ADMISSION_FULL: ['resource', 429, EXIT.resource, before, true, 'All slots and the queue are full.', 'Call again after retry_after seconds, or raise the limit that the message names.'],
  MHV_ADMISSION_SHED: ['resource', 503, EXIT.resource, before, true, 'A run of low priority was ended in the queue to make room for one of a higher priority.', 'Call again after retry_after seconds, with a higher priority if it is urgent, or raise the limit that the message names.'],
  MHV_ADMISSION_EXPIRED: ['resource', 503, EXIT.resource, before, true, 'The run waited for a slot longer than the limit on the time in the queue.', 'Call again after retry_after seconds, or raise the limit that the message names.'],
  MHV_BREAKER_OPEN: ['transient', 503, EXIT.transient, before, true, 'Too many recent failures on this target; calls are held back.', 'Look at the target, then call again after retry_after seconds.'],
  MHV_RUN_QUEUE_TIMEOUT: ['resource', 504, EXIT.timeout, before, true, 'The deadline passed while the run waited for a slot.', 'Call again with a longer timeout, or when less is going on.'],
  MHV_RUN_TIMEOUT: ['transient', 504, EXIT.timeout, unknown, false, 'The run was not done at its deadline.', 'See what it did (`mahavishnu runs show RUN`), then call again with a longer timeout.'],
  MHV_RUN_CANCELLED: ['permanent', 409, EXIT.cancelled, unknown, false, 'The run was cancelled while it acted.', 'See what it did (`mahavishnu runs show RUN`) before running it again.'],
  MHV_RUN_CANCELLED_QUEUED: ['permanent', 409, EXIT.cancelled, before, false, 'The run was cancelled before it acted.', 'Call again when it is wanted.'],
  MHV_RUN_INTERRUPTED: ['transient', 500, EXIT.unknown_effect, unknown, false, 'Mahavishnu was stopped while the run acted.', 'Check the target for what was done before running it again.'],
  MHV_WORKER_DEPENDENCY: ['transient', 503, EXIT.transient, before, true, 'A worker that this one requires does not start.', 'See the message for the worker and its error; the next call tries again.'],
  MHV_WORKER_DIED: ['transient', 500, EXIT.unknown_effect, unknown, false, "The worker's process ended while the run acted.", 'Check the target for what was done before running it again; the message and the log say why the process ended.'],
  MHV_WORKER_DOWN: ['transient', 503, EXIT.transient, before, true, "The worker's process is not up.", 'Call again after retry_after seconds; where it ends again and again, the log says why, and `<worker>.process` has its limits.'],
  MHV_RUN_NOT_STARTED: ['transient', 503, EXIT.transient, before, true, 'Mahavishnu was stopped before the run acted.', 'Call again.'],
  MHV_RUN_STUCK: ['transient', 500, EXIT.unknown_effect, unknown, false, 'The run did not end long after its deadline and was given up.', 'Check the target for what was done before running it again; report the run id and the log as a defect.'],
  MHV_SHUTTING_DOWN: ['transient', 503, EXIT.transient, before, true, 'Mahavishnu is stopping and takes nothing new.', 'Call again when it has started.'],
  MHV_OUTPUT_INVALID: ['permanent', 500, EXIT.internal, after, false, 'The operation acted, but its result does not fit its own schema.', 'Report this as a defect with the run id; do not run it again before looking at the target.'],
  MHV_INTERNAL: ['permanent', 500, EXIT.internal, unknown, false, 'Something failed that should not.', 'Report this as a defect with the run id and the log.'],

  // configuration, inventory, secrets
  MHV_CONFIG_UNKNOWN_KEY: ['validation', 500, EXIT.configuration, before, false, 'A settings layer has a key that does not exist.', 'Correct or remove the key; the message names the nearest one that exists.'],
  MHV_CONFIG_INVALID: ['validation', 500, EXIT.configuration, before, false, 'A setting has a wrong type or is out of range.', 'Correct the value; `mahavishnu config explain KEY` shows what it may be.'],
  MHV_CONFIG_UNPARSABLE: ['validation', 500, EXIT.configuration, before, false, 'A settings file is not valid YAML.', 'Correct the line named in the message.'],
  MHV_CONFIG_UNREADABLE: ['permission', 500, EXIT.configuration, before, false, 'A settings file cannot be read.', 'Make it a regular file of text that this user may read.'],
  MHV_CONFIG_NEWER: ['validation', 500, EXIT.configuration, before, false, 'A settings or inventory file has a newer format than this version of Mahavishnu knows.', 'Use the version that wrote it, or write the file in the format that the message names.'],
  MHV_CONFIG_RENAMED: ['validation', 500, EXIT.configuration, before, false, 'A settings layer uses a name from the design documents that is called differently here.', 'Use the name that the message gives.'],
  MHV_CONFIG_NOT_AVAILABLE: ['validation', 500, EXIT.configuration, before, false, 'A settings layer uses a key that is known but not available yet.', 'Remove the key until a later version brings it.'],
  MHV_CONFIG_KEY_UNKNOWN: ['validation', 404, EXIT.configuration, before, false, 'There is no such setting.', 'See `mahavishnu config show` for all settings.'],
  MHV_INVENTORY_INVALID: ['validation', 500, EXIT.configuration, before, false, 'The inventory cannot be used.', 'Correct the line named in the message; docs/guides/inventory.md shows the format.'],
  MHV_SCHEDULE_INVALID: ['validation', 500, EXIT.configuration, before, false, 'The schedules cannot be used.', 'Correct the line named in the message; docs/guides/schedules.md shows the format.'],
  MHV_SECRET_INVALID: ['validation', 500, EXIT.configuration, before, false, 'A secret reference is not well formed.', 'Write `env:NAME`, `file:PATH`, or `exec:` with a list of arguments.'],
  MHV_SECRET_UNRESOLVED: ['permission', 500, EXIT.configuration, before, false, 'A secret could not be read.', 'Check that the variable, file or program named by the reference exists and may be read.'],

  // instance folder and journal
  MHV_INSTANCE_LOCKED: ['resource', 423, EXIT.locked, before, true, 'Another process holds this instance folder.', 'Use that process, stop it, or choose another folder with --folder.'],
  MHV_INSTANCE_FENCED: ['permanent', 503, EXIT.locked, before, false, 'Another process has taken over this instance folder; this one may not act any longer.', 'Use the process that has it now, and stop this one; never remove instance.lock while a process holds it.'],
  MHV_INSTANCE_INVALID: ['validation', 500, EXIT.configuration, before, false, 'The instance folder cannot be used.', 'Check that the folder exists and that this user may write to it.'],
  MHV_JOURNAL_FULL: ['resource', 507, EXIT.resource, before, true, 'The journal has no room on its disk.', 'Free disk space where the instance folder lies, then call again.'],
  MHV_JOURNAL_NEWER: ['permanent', 500, EXIT.configuration, before, false, 'The journal was written by a newer version of Mahavishnu.', 'Use that version, or another instance folder.'],
  MHV_JOURNAL_CORRUPT: ['permanent', 500, EXIT.permanent, before, false, 'The journal cannot be read.', 'Move the journal file away and restore a copy of it.'],
  MHV_JOURNAL_UNAVAILABLE: ['transient', 503, EXIT.transient, before, true, 'The journal did not take a write.', 'See the log for the cause, then call again.'],
  MHV_DISK_LOW: ['resource', 507, EXIT.resource, before, true, 'Free disk space is below the floor that keeps the journal safe.', 'Free disk space where the instance folder lies, or lower journal.min_free_bytes.'],

  // external programs
  MHV_EXEC_NOT_FOUND: ['permanent', 500, EXIT.permanent, before, false, 'A program is not installed or not executable.', 'Install the program, or correct its path.'],
  MHV_NO_DESCRIPTORS: ['resource', 503, EXIT.resource, before, true, 'No file descriptor was left for what had to be opened.', 'Call again when less is going on, or raise the limit of open files (`ulimit -n`, `LimitNOFILE=` of a systemd unit).'],
  MHV_LOCAL_OUTSIDE_ROOTS: ['permission', 403, EXIT.permission, before, false, 'A path on this machine lies outside the folders that may be read and written.', 'Use a path in one of the folders that the message names, or add its folder to the setting named there.'],
  MHV_LOCAL_NOT_FOUND: ['validation', 404, EXIT.input, before, false, 'There is no such file or folder on this machine.', 'Check the path; relative ones start in the first folder of ssh.local_roots.'],
  MHV_LOCAL_NOT_A_FILE: ['validation', 422, EXIT.input, before, false, 'What a path on this machine names is not a regular file with one name.', 'Name a regular file; for a folder say recursive.'],
  MHV_LOCAL_NO_SPACE: ['resource', 507, EXIT.resource, before, true, 'There is no room on the disk of this machine.', 'Free space there, then call again.'],
  MHV_LOCAL_FAILED: ['permission', 500, EXIT.permission, before, false, 'A file or folder of this machine could not be used.', "See the system's code in the message: check the rights of the file and of its folders."],
  MHV_EXEC_NOT_STARTED: ['resource', 503, EXIT.resource, before, true, 'A program could not be started for lack of processes, memory or descriptors.', 'Call again when less is going on, or raise the limits of this user.'],
  MHV_EXEC_FAILED: ['permanent', 500, EXIT.permanent, unknown, false, 'A program ended with an error.', 'See its message.'],
  MHV_EXEC_TIMEOUT: ['transient', 504, EXIT.timeout, unknown, false, 'A program was not done at its deadline and was ended.', 'Find out why it takes so long, or allow more time.'],
  MHV_EXEC_ARGUMENT: ['validation', 400, EXIT.input, before, false, 'An argument of a program is not allowed.', 'Remove the NUL byte or the leading dash.'],

  // ssh
  MHV_SSH_KNOWN_HOSTS_UNREADABLE: ['permission', 500, EXIT.configuration, before, false, 'No known_hosts file could be read.', "Make the file readable, or add the host's key to known_hosts in the instance folder."],
  MHV_SSH_HOST_KEY_UNKNOWN: ['permission', 502, EXIT.permission, before, false, "The host's key is in no known_hosts file.", "Compare the fingerprint with the host's own, then trust it with ssh.trust_host, or set ssh.host_key_policy to accept_new."],
  MHV_SSH_HOST_KEY_CHANGED: ['permission', 502, EXIT.permission, before, false, "The host's key is not the one that known_hosts has: someone may be listening in.", 'Find out why the key changed; only then replace the line that the message names.'],
  MHV_SSH_HOST_KEY_REVOKED: ['permission', 502, EXIT.permission, before, false, "The host's key is marked as revoked in known_hosts.", 'Do not use this host until it has a new key.'],
  MHV_SSH_TRUST_REFUSED: ['validation', 409, EXIT.input, before, false, 'The fingerprint to accept is none that the host shows.', 'Call without `accept` to see the keys, compare one with the host itself, and pass exactly that fingerprint.'],
  MHV_SSH_CONFIG_INVALID: ['validation', 500, EXIT.configuration, before, false, 'What ssh_config says of the host cannot be used.', 'Correct the line that the message names, or say it in the inventory, which always wins; `mahavishnu doctor` lists all such lines.'],
  MHV_SSH_JUMP_INVALID: ['validation', 500, EXIT.configuration, before, false, 'The way over jump hosts cannot be gone: it has a loop, too many hosts, or a name that is none.', 'Correct proxy_jump of the targets in settings/inventory.yaml, or ProxyJump in ssh_config.'],
  MHV_SSH_JUMP_REFUSED: ['permission', 502, EXIT.permission, before, false, 'A jump host does not let this user go on to the next host.', 'Allow it on the jump host (AllowTcpForwarding and PermitOpen in sshd_config), or use another one.'],
  MHV_SSH_FORWARD_REFUSED: ['permission', 502, EXIT.permission, before, false, 'The host does not let this user forward an agent.', 'Take agent_forward out of the target, or allow it on the host (AllowAgentForwarding in sshd_config).'],
  MHV_SSH_AUTH_FAILED: ['permission', 502, EXIT.permission, before, false, 'The host accepted none of the credentials.', 'Check the user name and the credentials of the target in settings/inventory.yaml.'],
  MHV_SSH_KEY_INVALID: ['permission', 500, EXIT.configuration, before, false, 'A private key could not be read.', 'Check the path, the file mode and the passphrase of the key.'],
  MHV_SSH_CONNECT_REFUSED: ['network', 502, EXIT.network, before, true, 'The host refused the connection.', 'Check that sshd runs there and that the port is right.'],
  MHV_SSH_CONNECT_TIMEOUT: ['network', 504, EXIT.network, before, true, 'The host did not answer in time.', 'Check address, port and firewall, or raise ssh.connect_timeout.'],
  MHV_SSH_CONNECT_FAILED: ['network', 502, EXIT.network, before, true, 'The connection could not be made.', 'See the message for the cause; check address, name resolution and the server.'],
  MHV_SSH_CONNECTION_LOST: ['network', 502, EXIT.unknown_effect, unknown, false, 'The connection was lost while the command ran: whether it finished is unknown.', 'Look at the host for what the command did before running it again.'],
  MHV_SSH_COMMAND_TIMEOUT: ['transient', 504, EXIT.timeout, unknown, false, 'The command was not done at its deadline; what is known of its processes stands in the message.', 'See its output (`mahavishnu runs output RUN`), then call again with a longer timeout.'],
  MHV_SSH_CHANNEL_REFUSED: ['transient', 503, EXIT.transient, before, true, 'The host refused another channel on the connection.', 'Call again; if it stays, lower ssh.max_channels_per_connection.'],
  MHV_SSH_POOL_EXHAUSTED: ['resource', 503, EXIT.resource, before, true, 'All connections and channels that the limits allow are in use.', 'Call again after retry_after seconds, or raise ssh.max_connections_per_host.'],
  MHV_SSH_SHELL_UNSUPPORTED: ['permanent', 502, EXIT.permanent, before, false, "The account's login shell does not run commands, and there is no /bin/sh.", 'Use an account with a shell on that host.'],
  MHV_SSH_SFTP_UNSUPPORTED: ['permanent', 502, EXIT.permanent, before, false, 'The host has no SFTP for this user.', 'Enable the sftp subsystem in sshd_config on the host (`Subsystem sftp internal-sftp`), or use commands instead.'],
  MHV_SSH_SFTP_NOT_FOUND: ['validation', 404, EXIT.input, before, false, 'There is no such file or folder on the host.', 'Check the path; relative ones start in the home folder of the user.'],
  MHV_SSH_SFTP_PERMISSION: ['permission', 403, EXIT.permission, before, false, 'The user of the target may not do this to a file of the host.', 'Check owner and mode of the file and of its folders on the host.'],
  MHV_SSH_SFTP_EXISTS: ['validation', 409, EXIT.input, before, false, 'There is something of that name on the host already.', 'Use another name, or remove what is there.'],
  MHV_SSH_SFTP_NO_SPACE: ['resource', 507, EXIT.resource, before, true, 'The disk of the host has no room.', 'Free space on the host, then call again.'],
  MHV_SSH_SFTP_FAILED: ['permanent', 502, EXIT.permanent, before, false, 'The SFTP server of the host refused a request.', "See the server's words in the message."],
  MHV_SSH_SFTP_INCOMPLETE: ['permanent', 502, EXIT.unknown_effect, unknown, false, 'Only a part was removed.', 'See in the details what was left and why, then call again: what is gone already is not missed.'],
  MHV_SSH_SFTP_HOSTILE: ['permission', 502, EXIT.permission, before, false, 'The SFTP server gave an answer that no honest one gives.', 'Look at the host: its SFTP server is broken, or someone wants to lead this machine astray.'],
  MHV_SSH_PTY_REFUSED: ['permanent', 502, EXIT.permanent, before, false, 'The host gives this user no terminal.', 'Allow it on the host (PermitTTY in sshd_config, no-pty in authorized_keys), or run the command without a terminal.'],
  MHV_SSH_TRANSFER_SOURCE: ['validation', 422, EXIT.input, before, false, 'What should be transferred is not there, or is not of the kind that was asked for.', 'Correct the source named in the message; a folder needs `recursive`, and `*` and `?` are patterns unless `glob` is false.'],
  MHV_SSH_TRANSFER_TARGET: ['validation', 422, EXIT.input, before, false, 'The target of a transfer cannot take the file.', 'Correct the target named in the message: end a folder with `/`, and set `parents` to make missing folders.'],
  MHV_SSH_TRANSFER_NAME: ['permission', 422, EXIT.permission, before, false, 'A name or a link that the host gave would lead out of the target folder; nothing was written.', 'Look at the host: no honest file system has such a name; leave the file out, or transfer the others by their names.'],
  MHV_SSH_TRANSFER_CHANGED: ['transient', 409, EXIT.transient, before, true, 'A file changed while it was being transferred; its target is as it was.', 'Call again when nobody writes to the file, or transfer a copy or a snapshot of it.'],
  MHV_SSH_TRANSFER_MISMATCH: ['transient', 502, EXIT.transient, before, true, 'What arrived is not what was sent; the target is as it was.', 'Call again; if it stays, check the disks and the memory of both machines, and whether somebody writes to the file.'],
  MHV_SSH_TRANSFER_UNVERIFIED: ['permanent', 501, EXIT.permanent, before, false, 'The host has no program for SHA-256, so its side could not be verified; nothing was transferred.', 'Set verify_readback to read the files back, or verify to size, or install coreutils on the host.'],
  MHV_SSH_TRANSFER_PARTIAL: ['permanent', 502, EXIT.permanent, after, false, 'A part of the transfer was done, then it failed: files that have their names are whole and verified, the others are as they were, and folders may have been made.', 'See the message for what failed and the output of the run for what was done, then call again, with overwrite: if_different to leave out what is there.'],
  MHV_SSH_CWD_FAILED: ['validation', 422, EXIT.input, before, false, 'The working directory could not be entered on the host.', 'Name a directory that exists there and that the user may enter.'],
  MHV_SSH_ENV_FAILED: ['validation', 422, EXIT.input, before, false, 'A variable of the environment could not be set on the host.', "The host's shell keeps the variable read-only; use another name, or set it for one program with env(1) in the command."],
  MHV_SSH_COMMAND_UNCONFIRMED: ['permanent', 502, EXIT.unknown_effect, unknown, false, 'The host ended the channel without confirming that the command was started.', 'See the output of the run: the account may have a forced command, or a profile that ends the shell.'],
  MHV_SSH_SUDO_MISSING: ['permanent', 502, EXIT.permanent, before, false, 'There is no sudo on the host.', 'Install sudo there, or log in as the user who shall run the command.'],
  MHV_SSH_SUDO_FAILED: ['permission', 502, EXIT.permission, before, false, '`sudo` did not let the user run the command; nothing was run.', 'Check the password reference of the call, and what sudoers allows this user (`sudo -l` on the host).'],
  MHV_SSH_SCRIPT_NOT_PLACED: ['resource', 507, EXIT.resource, before, false, 'The host has no place for the temporary file of a script; nothing was run.', 'Free room in the temporary folder of the host ($TMPDIR, /tmp), or give the script by standard input (`via: stdin`).'],
  MHV_SSH_DETACH_FAILED: ['resource', 507, EXIT.resource, before, false, 'The host has no place for the files of a detached command; nothing was run.', "Free room there, or make the user's home folder, /var/tmp or /tmp writable; without `detach` the command needs no files."],
  MHV_SSH_DETACH_LOST: ['permanent', 502, EXIT.unknown_effect, unknown, false, 'What the host kept of a detached command is gone or not complete: how it ended is unknown.', 'Look at the host for what the command did before running it again; the message says what became of its files.'],

  // terminal
  MHV_TERMINAL_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no such terminal session.', 'See `mahavishnu terminal list` for the sessions there are.'],
  MHV_TERMINAL_LIMIT: ['resource', 429, EXIT.resource, before, true, 'As many terminal sessions are open as may be.', 'Close a session, or raise the limit that the message names.'],
  MHV_TERMINAL_DIRECTORY: ['permission', 403, EXIT.permission, before, false, 'A terminal session may not start in this folder.', 'Choose one of terminal.directories or a folder below, or add the folder to that setting.'],
  MHV_TERMINAL_ENVIRONMENT: ['validation', 400, EXIT.input, before, false, 'A variable that was given for a terminal session cannot be used.', 'Correct or leave out the variable that the message names.'],
  MHV_TERMINAL_NOT_STARTED: ['permanent', 500, EXIT.permanent, before, false, 'The terminal session could not be started.', 'Remove the cause that the message names.'],
  MHV_TERMINAL_ENDED: ['permanent', 409, EXIT.permanent, before, false, 'The program of the terminal session has ended.', 'Read what is left of its output, then start a new session.'],
  MHV_TERMINAL_LOST: ['transient', 502, EXIT.unknown_effect, unknown, false, 'The terminal session was lost: whether its program still runs is not known.', 'Look for what the program has done and whether it still runs, then start a new session.'],
  MHV_TERMINAL_INPUT_FULL: ['resource', 503, EXIT.resource, before, true, 'The program of the terminal session does not read what is typed, and no more fits.', 'See what the program does (`mahavishnu terminal snapshot`), interrupt it, or call again later.'],
  MHV_TERMINAL_NO_FOREGROUND: ['permanent', 409, EXIT.permanent, before, false, 'The terminal session has no foreground job that could get a signal.', 'See what the session shows (`mahavishnu terminal snapshot`), and close it if it is of no use any more.'],
  MHV_TERMINAL_BUSY: ['permanent', 409, EXIT.permanent, before, false, 'The shell of the terminal session is running a command.', 'Wait for its prompt, interrupt the command (`Ctrl+C`), or use another session.'],
  MHV_TERMINAL_HOST_DOWN: ['transient', 503, EXIT.transient, before, true, 'The process that owns the local terminals could not be reached.', 'Call again; if it stays so, the message and host.log in the folder that it names say why.'],
  MHV_TERMINAL_HOST_BUSY: ['transient', 503, EXIT.transient, before, true, 'The process that owns the local terminals has another controller.', 'Call again when the other process of this instance has ended.'],
  MHV_TERMINAL_HOST_VERSION: ['permanent', 500, EXIT.configuration, before, false, 'The process that owns the local terminals speaks another version of the protocol.', 'End the sessions with the version of Mahavishnu that started them, or end that process, whose id is in the message; its sessions end with it.'],
  MHV_TERMINAL_COMMAND_DENIED: ['permission', 403, EXIT.permission, before, false, 'The program is not among those that terminal sessions may start.', 'Start one of the programs that the message names, or add this one to terminal.commands.'],
  MHV_TERMINAL_SECRET_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no secret of this name that may be typed.', 'Use a name of the setting terminal.secrets, or add the secret there.'],
  MHV_TERMINAL_ECHO: ['permission', 409, EXIT.permission, before, false, 'The terminal would show the secret, or nobody can tell whether it would.', 'Wait until the program asks for it (`terminal wait`), or pass secret_may_show where it is certain that it will not be shown.'],
  MHV_TERMINAL_WATCHERS: ['resource', 429, EXIT.resource, before, true, 'As many terminals are attached to the session as may be.', 'Detach one of them, or raise terminal.max_watchers.'],
  MHV_TERMINAL_NOT_ATTACHED: ['permanent', 409, EXIT.permanent, before, false, 'Nobody came to attach a terminal.', 'Use `mahavishnu terminal attach SESSION`, which connects by itself.'],
  MHV_TERMINAL_RECORDING_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no such recording.', 'Name a session, or the run that started it, that was recorded and whose recording is still kept (terminal.recordings_bytes).'],
  MHV_TERMINAL_AI_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no program of this name that takes tasks in words.', 'Use a name of the setting terminal.ai_clis, or add the program there.'],
  MHV_TERMINAL_AI_NO_RESULT: ['permanent', 502, EXIT.permanent, unknown, false, 'The program ended without the message that has its result.', 'See its last words in the message and all of its output (`mahavishnu runs output RUN`), and what it has done, before running it again.'],
  // mqtt
  MHV_MQTT_CONNECT_REFUSED: ['network', 502, EXIT.network, before, true, 'The broker refused the connection.', 'Check that a broker runs there and that the port is right.'],
  MHV_MQTT_CONNECT_TIMEOUT: ['network', 504, EXIT.network, before, true, 'The broker did not answer in time.', 'Check address, port, firewall and protocol (mqtt, mqtts, ws, wss), or raise mqtt.connect_timeout.'],
  MHV_MQTT_CONNECT_FAILED: ['network', 502, EXIT.network, before, true, 'The connection to the broker could not be made.', 'See the message for the cause; check address, name resolution, protocol and the broker.'],
  MHV_MQTT_CONNECT_REJECTED: ['permanent', 502, EXIT.permanent, before, false, 'The broker answered that it does not take this client.', 'See the reason in the message: protocol version, client id and limits are matters of the target and of the broker.'],
  MHV_MQTT_TLS_UNTRUSTED: ['permission', 502, EXIT.permission, before, false, "The broker's certificate is not signed by an authority that is trusted here.", 'Check that this is the right broker, then set ca_file of the target to the authority that signed its certificate.'],
  MHV_MQTT_TLS_NAME: ['permission', 502, EXIT.permission, before, false, "The broker's certificate is for another name.", 'Use the name that stands in the certificate as host of the URL, or as server_name of the broker.'],
  MHV_MQTT_TLS_EXPIRED: ['permission', 502, EXIT.permission, before, false, "The broker's certificate is not valid at this time.", 'Renew the certificate of the broker, or correct the clock of this machine.'],
  MHV_MQTT_TLS_FAILED: ['permission', 502, EXIT.permission, before, false, 'The broker and this client did not agree on a TLS connection.', 'Check cert_file and key_file of the target: the broker may want a certificate, or another one.'],
  MHV_MQTT_KEY_INVALID: ['permission', 500, EXIT.configuration, before, false, 'A file with a certificate or a key could not be used.', 'Check the path, the file mode and the passphrase.'],
  MHV_MQTT_AUTH_FAILED: ['permission', 502, EXIT.permission, before, false, 'The broker did not accept the credentials.', 'Check user name, password and certificate of the target in settings/inventory.yaml.'],
  MHV_MQTT_NOT_AUTHORIZED: ['permission', 403, EXIT.permission, before, false, 'The broker does not allow this client to use this topic.', 'Check the access rules of the broker for this user and client id.'],
  MHV_MQTT_TOPIC_DENIED: ['permission', 403, EXIT.permission, before, false, 'The topic rules do not allow this.', 'Change mqtt.topic_rules, if it should be allowed.'],
  MHV_MQTT_TOPIC_INVALID: ['validation', 400, EXIT.input, before, false, 'The topic, the topic filter or the id of a device is not allowed by the standard, or not here.', 'Correct it as the message says; only filters may have + and #.'],
  MHV_MQTT_MESSAGE_TOO_LARGE: ['validation', 413, EXIT.input, before, false, 'The message is larger than may be.', 'Send less, or raise mqtt.throttling.max_message_size here and the limit of the broker.'],
  MHV_MQTT_NOT_CONNECTED: ['network', 503, EXIT.network, before, true, 'There is no connection to a broker at the moment.', 'Call again after retry_after seconds; `mahavishnu workers health mqtt` shows why.'],
  MHV_MQTT_CONNECTION_LOST: ['network', 502, EXIT.unknown_effect, unknown, false, 'The connection was lost before the broker acknowledged: whether the message arrived is unknown.', 'Look whether it arrived before sending it again, or send it with QoS 1 or 2 through the outbox.'],
  MHV_MQTT_PUBLISH_REJECTED: ['permanent', 502, EXIT.permanent, before, false, 'The broker refused the message.', 'See the reason in the message.'],
  MHV_MQTT_PUBLISH_PARTIAL: ['permanent', 502, EXIT.permanent, after, false, 'Some messages of the batch were sent, and others were not.', 'See in the details which ones failed and why; publish only these again.'],
  MHV_MQTT_SUBSCRIBE_REJECTED: ['permanent', 502, EXIT.permanent, before, false, 'The broker refused the subscription.', 'See the reason in the message.'],
  MHV_MQTT_OUTBOX_FULL: ['resource', 429, EXIT.resource, before, true, 'The outbox of the target has no room: nothing was accepted.', 'Call again when the broker is reachable, drop what is not needed any more (`mahavishnu mqtt outbox-drop`), or raise mqtt.outbox.max_size.'],
  MHV_MQTT_MESSAGE_GIVEN_UP: ['resource', 503, EXIT.resource, unknown, false, 'The message was held in the outbox, and given up before a broker acknowledged it.', 'Publish it again if it is still wanted; give it a longer expiry_seconds, or the outbox more room (mqtt.outbox.max_size).'],
  MHV_MQTT_SUBSCRIPTIONS_FULL: ['resource', 429, EXIT.resource, before, true, 'The connection has as many subscriptions as it may.', 'Use fewer and wider filters, or raise mqtt.throttling.max_subscription_count.'],
  MHV_MQTT_OTA_URL_DENIED: ['permission', 403, EXIT.permission, before, false, 'The address of the firmware is not one that devices may be told to load.', 'Correct the address, or add its folder to mqtt.ota.allowed_urls, if it should be allowed.'],
  MHV_MQTT_OTA_STOPPED: ['permanent', 502, EXIT.permanent, after, false, 'More devices failed to update than may, and no further device was told.', 'See in the details why they failed; correct the cause, and roll out to the devices that are not updated.'],
  MHV_MQTT_CUT_SHORT: ['permanent', 502, EXIT.unknown_effect, unknown, false, 'The broker, or the journal, refused in the middle what the operation needs to go on; devices had been told by then.', 'See the message for the reason and correct it; the output of the run says how far each device came.'],
  MHV_MQTT_RESPONSE_TIMEOUT: ['transient', 504, EXIT.timeout, unknown, false, 'The request was sent, and no response came in time.', 'Check that somebody answers requests on that topic; find out what the request did before sending it again.'],

  // manager
  MHV_MANAGER_FULL: ['resource', 429, EXIT.resource, before, true, 'The manager has as many spawned workers as it may.', 'Close workers that are not needed any more, or raise the limit that the message names.'],
  MHV_MANAGER_WORKER_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'The manager has no spawned worker of this id.', 'Use an id that worker_list shows, or spawn a worker.'],
  MHV_MANAGER_WORKER_CLOSED: ['validation', 409, EXIT.input, before, false, 'The spawned worker is closed, or is being closed, and takes no task.', 'Spawn a new worker.'],

  // dead letters and notifications
  MHV_DLQ_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no such dead letter.', 'See `mahavishnu dlq list` for those there are.'],
  MHV_DLQ_STATE: ['validation', 409, EXIT.input, before, false, 'The dead letter is in a state that does not allow this.', 'See its state with `mahavishnu dlq show LETTER`.'],
  MHV_DLQ_ACKNOWLEDGE: ['validation', 409, EXIT.input, before, false, 'The failed run may have acted, and doing it twice is not the same as once.', 'Look at the target; if it is right to do it (again), replay with acknowledge_unknown (`--acknowledge-unknown`).'],
  MHV_NOTIFY_ADDRESS: ['validation', 500, EXIT.configuration, before, false, 'A notification has no destination that it may go to.', 'Correct the destination under notifications.destinations in the settings.'],
  MHV_NOTIFY_FAILED: ['network', 502, EXIT.network, unknown, false, 'A destination did not take a notification.', 'See the message; the notification is sent again until its attempts are used up.'],

  // schedules
  MHV_SCHEDULE_UNKNOWN: ['validation', 404, EXIT.input, before, false, 'There is no such schedule.', 'See `mahavishnu schedules list` for those there are.'],

  // HTTP, before a request reaches the runtime
  MHV_HTTP_TOKEN: ['permission', 401, EXIT.permission, before, false, 'The request has no valid token.', 'Send `Authorization: Bearer TOKEN` with the content of http.token in the instance folder.'],
  MHV_HTTP_ORIGIN: ['permission', 403, EXIT.permission, before, false, 'Pages of this origin may not ask here.', 'Add the origin to http.allowed_origins, if its pages should be allowed.'],
  MHV_HTTP_HOST: ['permission', 421, EXIT.permission, before, false, 'This server is not known by that name.', 'Use the address that it listens on, or add the name to http.allowed_hosts.'],
  MHV_HTTP_ROUTE: ['validation', 404, EXIT.input, before, false, 'There is nothing at this path for this method.', 'See /openapi.json for what there is.'],
  MHV_HTTP_BODY: ['validation', 400, EXIT.input, before, false, 'The body is no JSON object.', 'Send one JSON object in UTF-8.'],
  MHV_HTTP_BODY_TOO_LARGE: ['validation', 413, EXIT.input, before, false, 'The body is larger than this server takes.', 'Send less, or raise http.max_body_bytes.'],
  MHV_HTTP_MEDIA_TYPE: ['validation', 415, EXIT.input, before, false, 'The body has a media type that is not taken here.', 'Send JSON with `Content-Type: application/json`.'],
  MHV_HTTP_RATE_LIMITED: ['resource', 429, EXIT.resource, before, true, 'Too many requests.', 'Call again after retry_after seconds, or raise http.rate_limit_per_second.'],
  MHV_HTTP_FOLLOWERS_FULL: ['resource', 503, EXIT.resource, before, true, 'As many event streams are open as may be.', 'Call again after retry_after seconds, close streams that nobody reads, or raise http.max_event_streams.'],
} as const satisfies Record<`MHV_${string}`, Row>

export type ErrorCode = keyof typeof ROWS

function toSpec([category, http, exit, phase, retryable, summary, remedy]: Row): ErrorSpec {
  return { category, http, exit, phase, retryable, summary, remedy }
}

/** Every code with its row, in the order of the table. */
export const ERROR_TABLE: Readonly<Record<ErrorCode, ErrorSpec>> = Object.freeze(
  Object.fromEntries(Object.entries(ROWS).map(([code, row]) => [code, Object.freeze(toSpec(row))])) as Record<
    ErrorCode,
    ErrorSpec
  >,
)

export const ERROR_CODES = Object.keys(ROWS) as ErrorCode[]

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ROWS, code)
}
