/**
 * The files by which a job and the schedulers that follow it communicate, all in
 * its run folder. A job may start more than once (after a time limit, a
 * pre-emption, a failure of its node); each start is a round.
 */
import { join } from "node:path";
import { removeIfThere, replaceText } from "../../store/files.ts";
import { linkFingerprint } from "../../store/stats.ts";
import { type Job, ROUND } from "./executor.ts";

/** How a round began: `began-ROUND`. */
interface Began {
  readonly node: string;
  /** Processors and GPUs, as `machine()` of the script prints them. */
  readonly machine: string;
}

/** How a round ended: `end-ROUND`, written by rename after everything else. */
export interface End {
  readonly code: number;
  /** Milliseconds since 1970. */
  readonly began: number;
  readonly ended: number;
  /** `limit`: Slurm announced the time limit. `term`: something sent SIGTERM. `machine`: the node has another engine. */
  readonly cause: "" | "limit" | "term" | "machine";
  /** True if the round left a checkpoint. */
  readonly fresh: boolean;
  readonly node: string;
  readonly machine: string;
  /** Bytes of standard output and error. */
  readonly stdout: number;
  readonly stderr: number;
  /** Number of files in the output, and their bytes. */
  readonly files: number;
  readonly bytes: number;
}

/** The script of a batch: task I of the array runs the job in the I-th folder. Without an array, there is one. */
export function batchScript(
  folders: readonly string[],
  batch: string,
): string {
  return `#!/bin/bash
folders=(
${folders.map(quoted).join("\n")}
)
cd "\${folders[\${SLURM_ARRAY_TASK_ID:-0}]}" && exec /bin/bash ./job.sh ${
    quoted(batch)
  }
`;
}

/**
 * Writes the script that a job runs in its run folder.
 *
 * @param machine The processors and GPUs that the node must have, if they matter.
 * @param seesGpus True if it may use the GPUs that Slurm allots to it.
 */
export function writeScript(
  job: Job,
  machine: string | undefined,
  seesGpus = job.resources.gpus > 0,
): void {
  const { CUDA_VISIBLE_DEVICES: _, ...env } = job.env;
  const variables = Object.entries(env).map(([name, value]) =>
    quoted(`${name}=${value}`)
  );
  Deno.writeTextFileSync(
    join(job.folder, "job.sh"),
    SCRIPT
      .replaceAll("@R@", ROUND)
      .replace("@ENV@", () => variables.join(" "))
      .replace(
        "@COMMAND@",
        () => [Deno.execPath(), ...job.args].map(quoted).join(" "),
      )
      .replace("@INPUT@", () => quoted(job.input))
      .replace("@CHECKPOINT@", () => quoted(job.checkpoint))
      .replace("@GPUS@", () => seesGpus ? "1" : "")
      .replace("@MACHINE@", () => quoted(machine ?? "")),
  );
}

/**
 * Only the job of the batch that the link `claim` names runs. The first job
 * that starts makes the link, or a scheduler that abandons a batch without
 * knowing whether it was submitted. Making a link is atomic on every file system,
 * so jobs of only one batch run.
 *
 * Slurm may start the job again while its process still lives on a node that
 * the controller has lost. Each start, a round, therefore has a folder for its
 * output and one for temporary files, and the process finds only its own.
 */
const SCRIPT = `#!/bin/bash
export PATH="$PATH:/usr/bin:/bin"
ln -s "$1" claim 2>/dev/null
[ "$(readlink claim)" = "$1" ] || exit 0
exec </dev/null >>job.log 2>&1
put() { printf '%s\\n' "$2" >"$1.new" && mv "$1.new" "$1"; }
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
round=0
while [ -e "began-$round" ]; do round=$((round + 1)); done
rm -rf "output-$round" "tmp-$round"
mkdir "output-$round" "tmp-$round"
# What names the round in the input, and in other files for the process.
sed "s/@R@/$round/g" @INPUT@ >"input-$round"
for file in *@R@*; do
  [ ! -e "$file" ] || sed "s/@R@/$round/g" "$file" >"\${file//@R@/$round}"
done
began=$(now) node=\${SLURMD_NODENAME:-$(uname -n)} machine=$(machine)
put "began-$round" "{\\"node\\":\\"$node\\",\\"machine\\":\\"$machine\\"}"
finish() {
  local files=0 bytes=0 size fresh=false
  while read -r size; do files=$((files + 1)) bytes=$((bytes + size)); done \\
    < <(find "output-$round" -type f -printf '%s\\n')
  [ -z "$(find @CHECKPOINT@ -type f -newer "began-$round" -print -quit)" ] || fresh=true
  put "end-$round" "{\\"code\\":$1,\\"cause\\":\\"$cause\\",\\"fresh\\":$fresh,\\
\\"began\\":$began,\\"ended\\":$(now),\\"node\\":\\"$node\\",\\"machine\\":\\"$machine\\",\\
\\"stdout\\":$(stat -c %s "stdout-$round"),\\"stderr\\":$(stat -c %s "stderr-$round"),\\
\\"files\\":$files,\\"bytes\\":$bytes}"
  exit "$1"
}
cause=
: >"stdout-$round"
: >"stderr-$round"
expected=@MACHINE@
if [ -n "$expected" ] && [ "$expected" != "$machine" ]; then
  cause=machine
  finish 1
fi
set -m
[ -n "@GPUS@" ] || CUDA_VISIBLE_DEVICES=
variables=(@ENV@)
command=(@COMMAND@)
env -i "\${variables[@]//@R@/$round}" \\
  \${CUDA_VISIBLE_DEVICES+"CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"} \\
  "\${command[@]//@R@/$round}" <"input-$round" >"stdout-$round" 2>"stderr-$round" &
child=$!
caught=
trap 'caught=1 cause=limit; kill -TERM "$child"' USR1
trap 'caught=1 cause=\${cause:-term}; kill -TERM "$child"' TERM
# A trapped signal ends wait early. 127: the code was read already.
code=
while :; do
  caught=
  wait "$child"
  status=$?
  [ "$status" = 127 ] && [ -n "$code" ] || code=$status
  [ -n "$caught" ] || break
done
trap '' TERM USR1
kill -KILL -- "-$child"
finish "$code"
`;

/** A text as a word of a shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Note of a scheduler in the run folder of a job that it submits. */
export interface Note {
  /** Name of the batch: the comment of its job array. */
  readonly batch: string;
  /** Index in the job array; absent if the batch is a job of its own. */
  readonly index?: number;
  /** Id of the array or job, once it is known. */
  readonly array?: string;
  /** The first round that this batch runs. */
  readonly round: number;
}

/** Id of the job, once it is known. */
export function jobOf({ array, index }: Note): string | undefined {
  return array === undefined || index === undefined
    ? array
    : `${array}_${index}`;
}

function notePath(folder: string): string {
  return join(folder, "slurm.json");
}

export function writeNote(folder: string, note: Note): void {
  replaceText(notePath(folder), JSON.stringify(note));
}

/** The note in a run folder, if it has one. */
export function readNote(folder: string): Note | undefined {
  return readJson(notePath(folder)) as Note | undefined;
}

/** How a round began, if it did. */
export function readBegan(folder: string, round: number): Began | undefined {
  return readJson(join(folder, `began-${round}`)) as Began | undefined;
}

/** How a round ended, if it did. */
export function readEnd(folder: string, round: number): End | undefined {
  return readJson(join(folder, `end-${round}`)) as End | undefined;
}

/** Reads a JSON file that is written atomically; undefined if it does not exist. */
function readJson(path: string): unknown {
  try {
    return JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof SyntaxError) {
      throw new Error(`"${path}" is damaged`, { cause: error });
    }
    throw error;
  }
}

/** Target of `claim` while no batch may start a job in the run folder. */
const NOBODY = "nobody";

/**
 * Makes sure that no job starts in a run folder, if none has.
 *
 * @returns False if one has started.
 */
export function reserve(folder: string): boolean {
  const claim = join(folder, "claim");
  try {
    Deno.symlinkSync(NOBODY, claim);
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    return Deno.readLinkSync(claim) === NOBODY;
  }
}

/** Makes sure that no job starts in a run folder, when the one in it has ended. */
export function retire(folder: string): void {
  replaceClaim(folder, NOBODY);
}

/** Lets a batch start a job in a run folder that was reserved or whose job has ended. */
export function admit(folder: string, batch: string): void {
  const hasClaim = linkFingerprint(join(folder, "claim")) !== undefined;
  if (hasClaim) replaceClaim(folder, batch);
}

function replaceClaim(folder: string, batch: string): void {
  const temporary = join(folder, "claim.new");
  removeIfThere(temporary);
  Deno.symlinkSync(batch, temporary);
  Deno.renameSync(temporary, join(folder, "claim"));
}
