import { entriesOf, ESRCH, osError } from "../../store/files.ts";

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
    const found = processesWith(variable);
    if (found.length === 0) return;
    found.forEach((pid) => signal(pid, "SIGKILL"));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function processesWith(variable: string): number[] {
  const read = (path: string) =>
    unlessGone(() => Deno.readTextFileSync(path)) ?? "";
  // In a nested PID namespace, which has a number for each level, signals take other numbers than `/proc` shows.
  if (!/^NSpid:\s+\d+$/m.test(read("/proc/self/status"))) return [];
  return entriesOf("/proc").map(({ name }) => Number(name)).filter((pid) =>
    pid > 0 && `\0${read(`/proc/${pid}/environ`)}`.includes(`\0${variable}\0`)
  );
}

/** Undefined if a process has ended or is another user's. */
function unlessGone<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.PermissionDenied || osError(error) === ESRCH
    ) return undefined;
    throw error;
  }
}
