import { entriesOf, systemCode } from "../../files/files.ts";
import { join } from "../../files/paths.ts";
import type { Execution, Executor, Exit, Job } from "./executor.ts";

/** Runs stages as processes of this machine. */
export const local: Executor = { allots: false, start, reap };

/**
 * Shell script between the scheduler and a stage's process, where there are no
 * PID namespaces; the two form a process group of their own. Its standard input
 * is a pipe whose other end only the scheduler holds. When the scheduler dies,
 * for whatever reason, the pipe closes and the whole group is killed.
 */
const SUPERVISOR = `
exec 3<&0 </dev/null 2>/dev/null
trap : TERM INT HUP
"$@" <spec.json >stdout 2>stderr 3<&- &
child=$!
(trap '' TERM INT HUP; while read -r word <&3; do :; done; kill -KILL 0) &
guard=$!
exec 3<&-
while wait $child; code=$?; kill -0 $child; do :; done
kill -KILL $guard
wait $guard
exit $code
`;

/** Signals of Linux by their numbers, from 1. */
const SIGNALS =
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM"
    .split(" ").map((name) => `SIG${name}`);

/**
 * Starts a job in a PID namespace, which ends with the stage's process, or else
 * in a process group, which a program that the stage starts may leave.
 */
function start(job: Job): Execution {
  const program = [Deno.execPath(), ...job.args];
  const contained = inNamespace(program, job.offline);
  const isGroup = typeof contained === "string";
  const [file, ...args] = isGroup
    ? ["/bin/sh", "-c", SUPERVISOR, "stage", ...program]
    : contained;
  const process = new Deno.Command(file!, {
    args,
    env: { ...job.env, STAGE_RUN: job.folder },
    clearEnv: true,
    detached: true,
    cwd: job.folder,
    stdin: isGroup ? "piped" : "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const ended = process.status.then(async ({ code, signal: name, success }) => {
    if (success) await process.stderr.cancel();
    else {
      // What the programs around the stage's own have printed, such as
      // `unshare`.
      const said = await new Response(process.stderr).text();
      const path = join(job.folder, "stderr");
      if (said !== "") Deno.writeTextFileSync(path, said, { append: true });
    }
    if (isGroup) signal(-process.pid, "SIGKILL");
    // A namespace has ended before `unshare`, unless that was killed itself.
    if (isGroup || name === "SIGKILL") await reap(job.folder);
    if (isGroup) await process.stdin.close();
    return describe(code, name);
  });
  return {
    started: Promise.resolve(),
    ended,
    async stop(grace) {
      signal(-process.pid, "SIGTERM");
      const kill = () => signal(-process.pid, "SIGKILL");
      const timer = setTimeout(kill, grace * 1000);
      await ended;
      clearTimeout(timer);
    },
    ...(isGroup && job.startsPrograms && {
      note:
        `Programs that the stage starts may outlive it, since it has no PID namespace: ${contained}`,
    }),
  };
}

/**
 * Kills the remaining processes of a job, which have its folder in their
 * environment, and waits until none is left. Only Linux shows environments:
 * elsewhere, none is found.
 */
async function reap(folder: string): Promise<void> {
  for (let pause = 2;; pause = Math.min(2 * pause, 100)) {
    const pids = processesWith(`STAGE_RUN=${folder}\0`);
    if (pids.length === 0) return;
    pids.forEach((pid) => signal(pid, "SIGKILL"));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * How a process ended, by its exit code, in which a shell hides the signal, or
 * by its signal.
 */
export function describe(
  code: number,
  signal: Deno.Signal | null = null,
): Exit {
  // A shell gives 128 and the number of the signal.
  const name = signal ?? SIGNALS[code - 129];
  return name === undefined ? { code } : { code, signal: name };
}

/** Signals a process, or a group by its negative id; false if there is none. */
export function signal(target: number, name: Deno.Signal): boolean {
  return unlessGone(() => {
    Deno.kill(target, name);
    return true;
  }) ?? false;
}

/** Processes whose environment has a variable that begins so. */
export function processesWith(variable: string): number[] {
  // In a nested PID namespace, which has a number for each level, signals take
  // other numbers than `/proc` shows.
  if (!/^NSpid:\s+\d+$/m.test(procFile("self", "status"))) return [];
  return entriesOf("/proc").map(({ name }) => Number(name)).filter((pid) =>
    pid > 0 && `\0${procFile(pid, "environ")}`.includes(`\0${variable}`)
  );
}

/**
 * Text of a file of `/proc/PID`; empty if the process has ended or is another
 * user's.
 */
export function procFile(pid: number | "self", name: string): string {
  return unlessGone(() => Deno.readTextFileSync(`/proc/${pid}/${name}`)) ?? "";
}

/** Undefined if a process has ended or is another user's. */
function unlessGone<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.PermissionDenied ||
      systemCode(error) === "ESRCH"
    ) return undefined;
    throw error;
  }
}

/**
 * Script that is process 1 of a stage's PID namespace. In the chain scheduler
 * -> `unshare` -> process 1, the kernel kills each process when the one before
 * it ends; with process 1, it kills everything that the stage started. That
 * does not hold if the scheduler ended before the chain was complete, so the
 * script starts the stage only if the scheduler is still the parent of
 * `unshare`.
 *
 * Parents are read from `/proc/PID/stat`, whose first fields are the id, the
 * name, the state and the parent's id.
 */
const INIT = `
exec 2>/dev/null
read -r _ _ _ unshare _ </proc/self/stat
read -r _ _ _ scheduler _ <"/proc/$unshare/stat"
[ "$scheduler" = "$1" ] || exit 1
shift
(exec "$@" <spec.json >stdout 2>stderr)
exit $?
`;

/**
 * Commands that start a program in a PID namespace, without the shared memory
 * and queues of others, and end it when their parent ends. The second is for
 * users without rights.
 */
const COMMANDS = [[], ["--user", "--map-current-user"]].map((flags) => [
  "setpriv",
  "--pdeathsig",
  "KILL",
  "unshare",
  "--pid",
  "--ipc",
  "--fork",
  "--kill-child",
  ...flags,
]);

/**
 * First release of util-linux whose `unshare` survives a SIGTERM that its
 * process group gets.
 */
const RELEASE = "2.36";

/** Results of {@linkcode namespaceCommand} by its argument. */
const commands = new Map<boolean, readonly string[] | string>();

/**
 * Command line that runs a program in a PID namespace of its own, which ends
 * with the program and with this process. It is to run in the folder of a
 * {@linkcode Job}.
 *
 * @param offline True for an empty network namespace as well.
 * @returns The reason, as text, if this system does not allow it.
 */
export function inNamespace(
  program: readonly string[],
  offline = false,
): readonly string[] | string {
  const command = commands.getOrInsertComputed(offline, namespaceCommand);
  if (typeof command === "string") return command;
  // Its id in the namespace of `/proc`.
  const scheduler = Deno.readLinkSync("/proc/self");
  const init = ["/bin/sh", "-c", INIT, "stage", scheduler];
  return [...command, ...init, ...program];
}

/**
 * The first of {@linkcode COMMANDS} that works here; else the reason, as text.
 */
function namespaceCommand(offline: boolean): readonly string[] | string {
  if (Deno.build.os !== "linux") return "only Linux has PID namespaces";
  const version = attempt(["unshare", "--version"]);
  const [, release] = /util-linux (\d+\.\d+)/.exec(version.output) ?? [];
  const isOld = release?.localeCompare(RELEASE, "en", { numeric: true }) ?? -1;
  if (isOld < 0) {
    return `"unshare" of util-linux ${RELEASE} or later is not installed`;
  }
  let reason = "";
  for (const pids of COMMANDS) {
    const command = offline ? [...pids, "--net"] : pids;
    const { success, output } = attempt([
      ...command,
      "/bin/sh",
      "-c",
      "read -r self </proc/self/stat",
    ]);
    if (success) return command;
    reason = output.trim();
  }
  return reason;
}

function attempt([program, ...args]: readonly string[]) {
  try {
    const { success, stdout, stderr } = new Deno.Command(program!, {
      args,
      env: { LC_ALL: "C" },
      stdin: "null",
    }).outputSync();
    const decoder = new TextDecoder();
    return { success, output: decoder.decode(stdout) + decoder.decode(stderr) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { success: false, output: `"${program}" is not installed` };
  }
}
