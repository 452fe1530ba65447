import { entriesOf, ESRCH, osError } from "../../store/files.ts";

/** A process of this machine that has not ended. */
interface RunningProcess {
  readonly pid: number;
  /** Id of its process group. */
  readonly group: number;
  /** Its PID namespace, such as `pid:[4026531836]`; empty if it cannot be read. */
  namespace(): string;
  /** Its arguments and environment; empty if they cannot be read. */
  text(): string;
}

/**
 * All processes except zombies; undefined if this system does not list them
 * under the numbers that signals take: `/proc` is missing or shows another PID
 * namespace.
 */
export function runningProcesses(): RunningProcess[] | undefined {
  if (Deno.build.os !== "linux") return listedByPs();
  const own = readIfThere("/proc/self/status");
  // A process in a nested namespace has one number for each level.
  if (!/^NSpid:\s+\d+$/m.test(own)) return undefined;
  return entriesOf("/proc").flatMap(({ name }): RunningProcess[] => {
    if (!/^\d+$/.test(name)) return [];
    const stat = readIfThere(`/proc/${name}/stat`);
    // The name of the program, in parentheses, may contain anything.
    const [state, , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (group === undefined || state === "Z" || state === "X") return [];
    return [{
      pid: Number(name),
      group: Number(group),
      namespace: () =>
        unlessGone(() => Deno.readLinkSync(`/proc/${name}/ns/pid`)),
      text: () =>
        ["cmdline", "environ"]
          .map((file) => readIfThere(`/proc/${name}/${file}`)).join("\0"),
    }];
  });
}

/** Outside Linux, `ps` lists processes; it is part of macOS. */
function listedByPs(): RunningProcess[] {
  const { stdout } = new Deno.Command("/bin/ps", {
    args: ["-A", "-o", "pid=", "-o", "pgid=", "-o", "stat=", "-o", "args="],
    stderr: "null",
  }).outputSync();
  return new TextDecoder().decode(stdout).split("\n").flatMap((line) => {
    const [, pid, group, state, text] =
      /^ *(\d+) +(\d+) +(\S+) +(.*)$/.exec(line) ?? [];
    if (text === undefined || state!.startsWith("Z")) return [];
    return [{
      pid: Number(pid),
      group: Number(group),
      namespace: () => "",
      text: () => text,
    }];
  });
}

/** PID namespace of the processes that a process starts; empty if it cannot be read. */
export function namespaceOfChildren(pid: number): string {
  return unlessGone(() =>
    Deno.readLinkSync(`/proc/${pid}/ns/pid_for_children`)
  );
}

function readIfThere(path: string): string {
  return unlessGone(() => Deno.readTextFileSync(path));
}

function unlessGone(read: () => string): string {
  try {
    return read();
  } catch (error) {
    if (isGoneOrForeign(error)) return "";
    throw error;
  }
}

/** Kills processes until none of them is left. */
export async function killUntilGone(
  isOurs: (process: RunningProcess) => boolean,
): Promise<void> {
  for (let pause = 2;; pause = Math.min(2 * pause, 100)) {
    const found = runningProcesses()?.filter(isOurs) ?? [];
    if (found.length === 0) return;
    found.forEach(({ pid }) => signal(pid, "SIGKILL"));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Signals a process, or a group by its negative id; false if there is none. */
export function signal(target: number, name: Deno.Signal): boolean {
  try {
    Deno.kill(target, name);
    return true;
  } catch (error) {
    if (isGoneOrForeign(error)) return false;
    throw error;
  }
}

function isGoneOrForeign(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.PermissionDenied || osError(error) === ESRCH;
}
