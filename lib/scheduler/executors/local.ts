import { readIfThere, replaceText } from "../../store/files.ts";
import { join } from "../../store/paths.ts";
import type { Ended, Execution, Executor, Job } from "./executor.ts";
import { inNamespace, tiedToParent } from "./namespace.ts";
import {
  killUntilGone,
  namespaceOfChildren,
  runningProcesses,
  signal,
} from "./processes.ts";

/** Runs stages as processes of this machine. */
export const local: Executor = { allots: false, start, reap };

/**
 * Shell script between the scheduler and a stage's process, where there are no
 * PID namespaces; the two form a process group of their own. Its standard input
 * is a pipe whose other end only the scheduler holds. When the scheduler dies,
 * for whatever reason, the pipe closes and the whole group is killed.
 */
const SUPERVISOR = `
exec 3<&0 4>&2 </dev/null 2>/dev/null
trap : TERM INT HUP
input=$1
shift
read -r go <&3 || exit 1
"$@" <"$input" 3<&- 2>&4 4>&- &
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
  const program = [Deno.execPath(), ...job.args];
  const contained = inNamespace(job.input, program, job.offline);
  return typeof contained === "string"
    ? startGroup(job, program, contained)
    : startNamespace(job, contained);
}

/** Starts a job in a PID namespace, which ends with the stage's process. */
function startNamespace(job: Job, command: readonly string[]): Execution {
  const process = spawn(job, command, "null");
  let namespace = "";
  const ended = process.status.then(async ({ code, signal }) => {
    // The namespace has ended before `unshare`, unless that was killed itself.
    if (signal === "SIGKILL") await killJob(job.folder, namespace);
    return describe(code, signal);
  });
  return execution(process, ended, () => {
    const children = namespaceOfChildren(process.pid);
    if (children !== namespaceOfChildren(Deno.pid)) namespace = children;
  });
}

/** Starts a job in a process group, which a program that the stage starts may leave. */
function startGroup(
  job: Job,
  program: readonly string[],
  reason: string,
): Execution {
  // The script and the stage's process each end with their parent, even if everything that watches them is killed.
  const tied = tiedToParent();
  const script = ["/bin/sh", "-c", SUPERVISOR, "stage", job.input];
  const process = spawn(
    job,
    [...tied, ...script, ...tied, ...program],
    "piped",
  );
  // The script waits for a line on its standard input, so no stage runs before its group is noted.
  try {
    replaceText(groupFile(job.folder), String(process.pid));
  } catch (error) {
    // Unlike `process.kill()`, this takes a process that has just ended.
    signal(process.pid, "SIGKILL");
    throw error;
  }
  const lifeline = process.stdin.getWriter();
  // Fails if the script has been killed already, which `status` reports.
  lifeline.write(new TextEncoder().encode("go\n")).catch(() => {});
  const ended = process.status.then(async ({ code, signal }) => {
    await killGroup(process.pid);
    if (job.startsPrograms) await killJob(job.folder);
    lifeline.close().catch(() => {});
    return describe(code, signal);
  });
  return {
    ...execution(process, ended),
    ...(job.startsPrograms && {
      note:
        `Programs that the stage starts may outlive it, since it has no PID namespace: ${reason}`,
    }),
  };
}

function spawn(
  job: Job,
  [program, ...args]: readonly string[],
  stdin: "null" | "piped",
): Deno.ChildProcess {
  return new Deno.Command(program!, {
    args,
    env: { ...job.env, STAGE_RUN: job.folder },
    clearEnv: true,
    detached: true,
    cwd: job.folder,
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** @param beforeKill Called before the process group is killed. */
function execution(
  process: Deno.ChildProcess,
  ended: Promise<Ended>,
  beforeKill: () => void = () => {},
): Execution {
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    started: Promise.resolve(),
    ended,
    async stop(grace) {
      signal(-process.pid, "SIGTERM");
      const timer = setTimeout(() => {
        beforeKill();
        signal(-process.pid, "SIGKILL");
      }, grace * 1000);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** File with the id of the run's process group. */
function groupFile(folder: string): string {
  return join(folder, "group");
}

async function reap(folder: string): Promise<void> {
  const group = notedGroup(folder);
  // The id may have been reused by now: only a group whose arguments contain the folder is ours.
  const isOurs = group !== undefined &&
    runningProcesses()?.some((it) =>
      it.group === group && it.text().includes(folder)
    );
  if (isOurs) await killGroup(group);
  await killJob(folder);
}

function notedGroup(folder: string): number | undefined {
  const group = Number(readIfThere(groupFile(folder)));
  return Number.isInteger(group) && group > 1 ? group : undefined;
}

/** Milliseconds after which a group is considered gone where zombies cannot be told from other processes. */
const PATIENCE = 1_000;

async function killGroup(group: number): Promise<void> {
  const start = performance.now();
  for (
    let pause = 2;
    signal(-group, "SIGKILL");
    pause = Math.min(2 * pause, 100)
  ) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    // A group of zombies only can be signalled.
    const isGone = runningProcesses()?.every((it) => it.group !== group) ??
      performance.now() - start > PATIENCE;
    if (isGone) return;
  }
}

/**
 * Kills the remaining processes of a job: those in its namespace, and those with
 * its run folder in their environment, which only Linux shows.
 */
async function killJob(folder: string, namespace = ""): Promise<void> {
  const variable = `STAGE_RUN=${folder}\0`;
  await killUntilGone((process) =>
    process.text().includes(variable) ||
    namespace !== "" && process.namespace() === namespace
  );
}

function describe(code: number, signal: Deno.Signal | null): Ended {
  const name = signal ?? SIGNALS[code];
  return name === undefined ? { code } : { code, signal: name };
}
