import { join } from "../../store/paths.ts";
import { entriesOf } from "../../store/files.ts";
import { ESRCH, osError } from "../../store/files.ts";
import type { Ended, Execution, Executor, Job } from "./executor.ts";

/** Runs stages as processes of this machine. */
export const local: Executor = { allots: false, start, reap };

/**
 * Shell script between the scheduler and a stage's process; the two form a
 * process group of their own. Its standard input is a pipe whose other end only
 * the scheduler holds. When the scheduler dies, for whatever reason, the pipe
 * closes and the whole group is killed.
 */
const SUPERVISOR = `
exec 3<&0 4>&2 </dev/null 2>/dev/null
trap : TERM INT HUP
read -r go <&3 || exit 1
"$@" < "$STAGE_INPUT" 3<&- 2>&4 4>&- &
child=$!
(trap '' TERM INT HUP; while read -r word <&3; do :; done; kill -KILL 0) >/dev/null 4>&- &
guard=$!
exec 3<&- 4>&-
while wait $child; code=$?; kill -0 $child; do :; done
kill -KILL $guard
wait $guard
exit $code
`;

const SIGNALS: Readonly<Record<number, string>> = {
  129: "SIGHUP",
  130: "SIGINT",
  134: "SIGABRT",
  135: "SIGBUS",
  136: "SIGFPE",
  137: "SIGKILL",
  139: "SIGSEGV",
  143: "SIGTERM",
};

function start(job: Job): Execution {
  const process = new Deno.Command("sh", {
    args: ["-c", SUPERVISOR, "stage", Deno.execPath(), ...job.args],
    env: { ...job.env, STAGE_RUN: job.folder, STAGE_INPUT: job.input },
    clearEnv: true,
    detached: true,
    cwd: job.folder,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  // The script waits for a line on its standard input, so no stage runs before its group is noted.
  try {
    noteGroup(job.folder, process.pid);
  } catch (error) {
    process.kill("SIGKILL");
    throw error;
  }
  const lifeline = process.stdin.getWriter();
  // Fails if the script has been killed already, which `status` reports.
  lifeline.write(new TextEncoder().encode("go\n")).catch(() => {});
  const ended = process.status.then(async ({ code, signal }) => {
    await killGroup(process.pid);
    if (job.startsPrograms) killStrays(job.folder);
    lifeline.close().catch(() => {});
    return describe(code, signal);
  });
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    started: Promise.resolve(),
    ended,
    async stop(grace) {
      signalGroup(process.pid, "SIGTERM");
      const timer = setTimeout(
        () => signalGroup(process.pid, "SIGKILL"),
        grace * 1000,
      );
      await ended;
      clearTimeout(timer);
    },
  };
}

/** File with the id of the run's process group. */
function groupFile(folder: string): string {
  return join(folder, "group");
}

function noteGroup(folder: string, group: number): void {
  const path = groupFile(folder);
  Deno.writeTextFileSync(`${path}.new`, String(group));
  Deno.renameSync(`${path}.new`, path);
}

async function reap(folder: string): Promise<void> {
  let group: number;
  try {
    group = Number(Deno.readTextFileSync(groupFile(folder)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  // The id may have been reused by now: only a group whose arguments contain the folder is ours.
  const isOurs = Number.isInteger(group) && group > 1 &&
    (await members(group)).some((args) => args.includes(folder));
  if (isOurs) await killGroup(group);
  killStrays(folder);
}

async function killGroup(group: number): Promise<void> {
  for (let pause = 2; signalGroup(group, "SIGKILL"); pause *= 2) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (pause > 10 && (await members(group)).length === 0) return;
  }
}

/**
 * Kills programs that a stage started and that left its process group. They are
 * found by the run folder in their environment, which only Linux shows.
 */
function killStrays(folder: string): void {
  const variable = `STAGE_RUN=${folder}\0`;
  for (const { name } of entriesOf("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (Deno.readTextFileSync(`/proc/${name}/environ`).includes(variable)) {
        Deno.kill(Number(name), "SIGKILL");
      }
    } catch (error) {
      if (!isGoneOrForeign(error)) throw error;
    }
  }
}

function isGoneOrForeign(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.PermissionDenied || osError(error) === ESRCH;
}

/** Command lines of the group's processes, without zombies. */
async function members(group: number): Promise<string[]> {
  const { stdout } = await new Deno.Command("ps", {
    args: ["-A", "-o", "pgid=", "-o", "stat=", "-o", "args="],
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).split("\n")
    .map((line) => /^ *(\d+) +(\S+) +(.*)$/.exec(line))
    .filter((found) =>
      Number(found?.[1]) === group && !found![2]!.startsWith("Z")
    )
    .map((found) => found![3]!);
}

/** Signals all processes of a group; false if there are none left. */
function signalGroup(group: number, signal: Deno.Signal): boolean {
  try {
    Deno.kill(-group, signal);
    return true;
  } catch (error) {
    if (isGoneOrForeign(error)) return false;
    throw error;
  }
}

function describe(code: number, signal: Deno.Signal | null): Ended {
  const name = signal ?? SIGNALS[code];
  return name === undefined ? { code } : { code, signal: name };
}
