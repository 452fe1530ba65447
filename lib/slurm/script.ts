/**
 * The script of a job, and the files in its folder by which it tells how it
 * began and ended.
 */
import { shellWord } from "../files/shell_word.ts";
import { join } from "node:path";
import type { Job } from "../scheduler/executors/executor.ts";
import { entriesBelow, readIfThere } from "../files/files.ts";
import { fileSize, fingerprint } from "../files/fingerprints.ts";
import type { Intervals } from "./settings.ts";

/** How a job ended: the file `end`, written by rename after everything else. */
export interface End {
  readonly node: string;
  /** Processors and GPUs, as `machine()` of the script prints them. */
  readonly machine: string;
  readonly code: number;
  /** Milliseconds since 1970. */
  readonly began: number;
  readonly ended: number;
  /**
   * `limit`: Slurm announced the time limit. `term`: something sent SIGTERM.
   * `alone`: the scheduler is gone. `machine`: the node has another engine.
   */
  readonly cause: "" | "limit" | "term" | "alone" | "machine";
  /** Bytes of the files that the process appends to. */
  readonly events: number;
  readonly stdout: number;
  readonly stderr: number;
  /** Number of files in the output, and their bytes. */
  readonly files: number;
  readonly bytes: number;
}

/**
 * The script of a batch: task I of the array runs the job in the I-th folder.
 * Without an array, there is one.
 */
export function batchScript(folders: readonly string[]): string {
  return `#!/bin/bash
folders=(
${folders.map(shellWord).join("\n")}
)
cd "\${folders[\${SLURM_ARRAY_TASK_ID:-0}]}" && exec /bin/bash ./job.sh
`;
}

/**
 * Writes the script that a job runs in its folder. It has the job's
 * environment, so only its owner can read it.
 *
 * @param options.alive File to which the scheduler writes something else in
 * each beat while it lives.
 * @param options.machine The processors and GPUs that the node must have, if
 * they matter.
 * @param options.seesGpus True if it may use the GPUs that Slurm allots to it.
 */
export function writeScript(
  job: Job,
  { alive, pace, machine = "", seesGpus }: {
    readonly alive: string;
    readonly pace: Intervals;
    readonly machine: string | undefined;
    readonly seesGpus: boolean;
  },
): void {
  const { CUDA_VISIBLE_DEVICES: _, ...env } = job.env;
  const values: Record<string, string> = {
    ENV: Object.entries(env)
      .map(([name, value]) => shellWord(`${name}=${value}`)).join(" "),
    COMMAND: [Deno.execPath(), ...job.args].map(shellWord).join(" "),
    GPUS: seesGpus ? "1" : "",
    MACHINE: shellWord(machine),
    ALIVE: shellWord(alive),
    BEAT: String(pace.beat),
    GRACE: String(pace.grace),
  };
  Deno.writeTextFileSync(
    join(job.folder, "job.sh"),
    SCRIPT.replaceAll(/@([A-Z]+)@/g, (_, name) => values[name]!),
    { mode: 0o600 },
  );
}

/** Beats of the scheduler that a job misses before it ends. */
const MISSED_BEATS = 8;

/**
 * The job ends when the scheduler gives it up (`gone`), has removed its folder,
 * or no longer touches its file: time is compared with none of another host.
 */
const SCRIPT = `#!/bin/bash
export PATH="$PATH:/usr/bin:/bin"
[ ! -e gone ] || exit 0
exec </dev/null >>job.log 2>&1
now() { date +%s%3N; }
machine() {
  {
    uname -m
    grep -m1 -E '^(flags|Features)' /proc/cpuinfo | tr ' ' '\\n' |
      grep -E '^(sse4|avx|fma|amx|asimd|sve|bf16|i8mm)' | LC_ALL=C sort
    cat /proc/driver/nvidia/gpus/*/information 2>/dev/null |
      sed -n 's/^Model:[[:space:]]*//p' | LC_ALL=C sort -u
  } | tr '\\n' ' '
}
finish() {
  local files=0 bytes=0 size
  [ -z "$watcher" ] || kill -KILL -- "-$watcher"
  while read -r size; do files=$((files + 1)) bytes=$((bytes + size)); done \\
    < <(find output -type f -printf '%s\\n')
  printf '%s\\n' "{\\"code\\":$1,\\"cause\\":\\"$cause\\",\\"began\\":$began,\\"ended\\":$(now),\\
\\"node\\":\\"$node\\",\\"machine\\":\\"$machine\\",\\"files\\":$files,\\"bytes\\":$bytes,\\
\\"events\\":$(stat -c %s events.jsonl || echo 0),\\
\\"stdout\\":$(stat -c %s stdout),\\"stderr\\":$(stat -c %s stderr)}" >end.new
  mv end.new end
  exit "$1"
}
began=$(now) node=\${SLURMD_NODENAME:-$(uname -n)} machine=$(machine)
: >began
cause= watcher=
: >stdout
: >stderr
expected=@MACHINE@
if [ -n "$expected" ] && [ "$expected" != "$machine" ]; then
  cause=machine
  finish 1
fi
set -m
# Not by "env", whose arguments every user of the node sees.
(
  [ -n "@GPUS@" ] || CUDA_VISIBLE_DEVICES=
  gpus=\${CUDA_VISIBLE_DEVICES+"CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"}
  unset $(compgen -e)
  export @ENV@ \${gpus:+"$gpus"}
  exec @COMMAND@
) <spec.json >stdout 2>stderr &
child=$!
{
  missed=0 last=
  until [ -e gone ] || [ ! -e job.sh ] || [ "$missed" -ge ${MISSED_BEATS} ]; do
    sleep @BEAT@
    beat=$(cat @ALIVE@ 2>&1)
    [ "$beat" = "$last" ] && missed=$((missed + 1)) || missed=0
    last=$beat
  done
  kill -USR2 $$
  sleep @GRACE@
  kill -KILL -- "-$child"
} &
watcher=$!
caught=
stop() { caught=1 cause=\${cause:-$1}; kill -TERM "$child"; }
trap 'stop limit' USR1
trap 'stop term' TERM
trap 'stop alone' USR2
# A trapped signal ends wait early. 127: the code was read already.
code=
while :; do
  caught=
  wait "$child"
  status=$?
  [ "$status" = 127 ] && [ -n "$code" ] || code=$status
  [ -n "$caught" ] || break
done
trap '' TERM USR1 USR2
kill -KILL -- "-$child"
finish "$code"
`;

/** True if a job has begun. */
export function hasBegun(folder: string): boolean {
  return fingerprint(join(folder, "began")) !== undefined;
}

/** How a job ended, if it did. */
export function readEnd(folder: string): End | undefined {
  const text = readIfThere(join(folder, "end"));
  return text === undefined ? undefined : JSON.parse(text);
}

/** Makes a job end that is running in a folder or may start there. */
export function giveUp(folder: string): void {
  Deno.writeTextFileSync(join(folder, "gone"), "");
}

/** True if everything is visible here that the process wrote. */
export function hasArrived(folder: string, end: End): boolean {
  const sizes = filesIn(join(folder, "output")).map(fileSize);
  const has = (name: string, size: number) =>
    fileSize(join(folder, name)) >= size;
  return sizes.length === end.files &&
    sizes.reduce((sum, size) => sum + size, 0) === end.bytes &&
    has("events.jsonl", end.events) && has("stdout", end.stdout) &&
    has("stderr", end.stderr);
}

/** True if a job has left a checkpoint. */
export function hasCheckpoint(job: Job): boolean {
  const began = fingerprint(join(job.folder, "began"))?.modified ?? Infinity;
  return filesIn(job.checkpoint)
    .some((path) => (fingerprint(path)?.modified ?? 0) > began);
}

/**
 * Files at any depth. Reading a folder makes a network file system ask for its
 * present state.
 */
function filesIn(folder: string): string[] {
  return [...entriesBelow(folder)]
    .flatMap(({ path, isFile }) => isFile ? [path] : []);
}
