import { join } from "../../files/paths.ts";
import type { Ended, Execution, Executor, Exit, Job } from "./executor.ts";
import { inNamespace, tiedToParent } from "./namespace.ts";
import { killByVariable, signal } from "./processes.ts";

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
  const contained = inNamespace(program, job.offline);
  return typeof contained === "string"
    ? startGroup(job, program, contained)
    : startNamespace(job, contained);
}

/** Starts a job in a PID namespace, which ends with the stage's process. */
function startNamespace(job: Job, command: readonly string[]): Execution {
  const process = spawn(job, command, "null");
  const ended = endOf(job, process).then(async ({ code, signal }) => {
    // The namespace has ended before `unshare`, unless that was killed itself.
    if (signal === "SIGKILL") await reap(job.folder);
    return describe(code, signal);
  });
  return execution(process, ended);
}

/** Starts a job in a process group, which a program that the stage starts may leave. */
function startGroup(
  job: Job,
  program: readonly string[],
  reason: string,
): Execution {
  // The script and the stage's process each end with their parent, even if everything that watches them is killed.
  const tied = tiedToParent();
  const script = ["/bin/sh", "-c", SUPERVISOR, "stage"];
  const process = spawn(
    job,
    [...tied, ...script, ...tied, ...program],
    "piped",
  );
  const ended = endOf(job, process).then(async ({ code, signal: name }) => {
    signal(-process.pid, "SIGKILL");
    await reap(job.folder);
    await process.stdin.close();
    return describe(code, name);
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
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/** How a process ends. What the programs around the stage's own have printed, such as `unshare`, goes to its standard error. */
async function endOf(
  job: Job,
  process: Deno.ChildProcess,
): Promise<Deno.CommandStatus> {
  const status = await process.status;
  if (status.success) await process.stderr.cancel();
  else {
    const said = await new Response(process.stderr).text();
    const path = join(job.folder, "stderr");
    if (said !== "") Deno.writeTextFileSync(path, said, { append: true });
  }
  return status;
}

function execution(
  process: Deno.ChildProcess,
  ended: Promise<Ended>,
): Execution {
  return {
    started: Promise.resolve(),
    ended,
    async stop(grace) {
      signal(-process.pid, "SIGTERM");
      const timer = setTimeout(
        () => signal(-process.pid, "SIGKILL"),
        grace * 1000,
      );
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Kills the remaining processes of a job, which have its folder in their environment. */
async function reap(folder: string): Promise<void> {
  await killByVariable(`STAGE_RUN=${folder}`);
}

/** How a process ended, by its exit code, in which a shell hides the signal, or by its signal. */
export function describe(
  code: number,
  signal: Deno.Signal | null = null,
): Exit {
  const name = signal ?? SIGNALS[code];
  return name === undefined ? { code } : { code, signal: name };
}
