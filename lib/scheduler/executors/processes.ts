import { entriesOf, systemCode } from "../../files/files.ts";

/** Signals a process, or a group by its negative id; false if there is none. */
export function signal(target: number, name: Deno.Signal): boolean {
  return unlessGone(() => {
    Deno.kill(target, name);
    return true;
  }) ?? false;
}

/**
 * Kills the processes with a variable in their environment, and waits until none
 * is left. Only Linux shows environments: elsewhere, none is found.
 *
 * @param variable `NAME=VALUE`
 */
export async function killByVariable(variable: string): Promise<void> {
  for (let pause = 2;; pause = Math.min(2 * pause, 100)) {
    const found = processesWith(`${variable}\0`);
    if (found.length === 0) return;
    found.forEach((pid) => signal(pid, "SIGKILL"));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * Processor time and memory of the processes of a stage that runs on this
 * machine; undefined where they cannot be seen, as beyond Linux.
 *
 * @param folder Its run folder
 * @returns Seconds of all threads, and bytes of resident memory.
 */
export function usageOf(
  folder: string,
): { readonly seconds: number; readonly memory: number } | undefined {
  const found = processesWith(`STAGE_RUN=${folder}/`);
  if (found.length === 0) return undefined;
  const sum = (of: (pid: number) => number) =>
    found.reduce((total, pid) => total + of(pid), 0);
  return {
    // Of what follows the name, fields 11 and 12 are 1/100 s in user and kernel.
    seconds: sum((pid) => {
      const fields = read(`/proc/${pid}/stat`).split(") ").at(-1)!.split(" ");
      return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
    }),
    memory: sum((pid) =>
      1024 *
      Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0)
    ),
  };
}

function read(path: string): string {
  return unlessGone(() => Deno.readTextFileSync(path)) ?? "";
}

/** Processes whose environment has a variable that begins so. */
function processesWith(variable: string): number[] {
  // In a nested PID namespace, which has a number for each level, signals take other numbers than `/proc` shows.
  if (!/^NSpid:\s+\d+$/m.test(read("/proc/self/status"))) return [];
  return entriesOf("/proc").map(({ name }) => Number(name)).filter((pid) =>
    pid > 0 && `\0${read(`/proc/${pid}/environ`)}`.includes(`\0${variable}`)
  );
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
