/**
 * Script that is process 1 of a stage's PID namespace. In the chain scheduler ->
 * `unshare` -> process 1, the kernel kills each process when the one before it
 * ends; with process 1, it kills everything that the stage started. That does
 * not hold if the scheduler ended before the chain was complete, so the script
 * starts the stage only if the scheduler is still the parent of `unshare`.
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

/** Starts a program that the kernel kills when its parent ends. */
const TIED = ["setpriv", "--pdeathsig", "KILL"];

/** Commands that start a program in a PID namespace, without the shared memory and queues of others. The second is for users without rights. */
const COMMANDS = [[], ["--user", "--map-current-user"]].map((flags) => [
  ...TIED,
  ...["unshare", "--pid", "--ipc", "--fork", "--kill-child", ...flags],
]);

/** First release of util-linux whose `unshare` survives a SIGTERM that its process group gets. */
const RELEASE = "2.36";

const found = new Map<boolean, readonly string[] | string>();
let tied: readonly string[] | undefined;

/** Command prefix that makes a program end with its parent; empty if this system has none. */
export function tiedToParent(): readonly string[] {
  return tied ??= Deno.build.os === "linux" &&
      attempt([...TIED, "/bin/sh", "-c", ":"]).success
    ? TIED
    : [];
}

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
  const command = found.get(offline) ?? find(offline);
  found.set(offline, command);
  if (typeof command === "string") return command;
  // Its id in the namespace of `/proc`.
  const scheduler = Deno.readLinkSync("/proc/self");
  const init = ["/bin/sh", "-c", INIT, "stage", scheduler];
  return [...command, ...init, ...program];
}

function find(offline: boolean): readonly string[] | string {
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
      ...["/bin/sh", "-c", "read -r self </proc/self/stat"],
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
