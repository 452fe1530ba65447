/** Runs programs in a terminal of their own. */

/**
 * A key that is pressed, or a reaction of another kind to what a program
 * writes.
 */
interface Key {
  /** Text that the program writes first, after the key before. */
  readonly after: string;
  /** Seconds to wait then. */
  readonly wait?: number;
  /** What the terminal sends: `\x03` for Ctrl-C. */
  readonly send: string;
}

/** How a program is run. */
interface Options {
  readonly columns?: number;
  readonly rows?: number;
  readonly keys?: readonly Key[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** What a program did in its terminal. */
export interface Terminated {
  readonly code: number;
  /** All that it wrote. */
  readonly output: string;
}

/**
 * Ctrl-C, for which the terminal sends SIGINT to all processes of the command.
 */
export const CTRL_C = "\x03";

const PROGRAM = `
import fcntl, json, os, pty, select, struct, sys, termios, time
spec = json.loads(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    size = struct.pack("HHHH", spec["rows"], spec["columns"], 0, 0)
    fcntl.ioctl(0, termios.TIOCSWINSZ, size)
    os.chdir(spec["cwd"])
    os.environ.update(spec["env"])
    os.execvp(spec["command"][0], spec["command"])
output, start, due = b"", 0, None
keys = spec["keys"]
deadline = time.monotonic() + 300
while True:
    now = time.monotonic()
    if now > deadline:
        os.kill(pid, 9)
        break
    if due is not None and now >= due:
        os.write(terminal, keys.pop(0)["send"].encode())
        start, due = len(output), None
    if select.select([terminal], [], [], 0.02)[0]:
        try:
            read = os.read(terminal, 65536)
        except OSError:
            break
        if not read:
            break
        output += read
    if keys and due is None and keys[0]["after"].encode() in output[start:]:
        due = time.monotonic() + keys[0]["wait"]
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps({"code": code, "output": output.decode(errors="replace")}))
`;

/** Runs a command in a terminal, presses keys and waits for its end. */
export async function inTerminal(
  command: readonly string[],
  {
    columns = 100,
    rows = 24,
    keys = [],
    env = {},
    cwd = Deno.cwd(),
  }: Options = {},
): Promise<Terminated> {
  const spec = {
    command,
    columns,
    rows,
    keys: keys.map((key) => ({ wait: 0, ...key })),
    // CI would switch the live table off.
    env: { TERM: "xterm", CI: "", NO_COLOR: "1", ...env },
    cwd,
  };
  const { stdout, stderr, success } = await new Deno.Command("python3", {
    args: ["-c", PROGRAM, JSON.stringify(spec)],
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(decoder.decode(stderr));
  return JSON.parse(decoder.decode(stdout)) as Terminated;
}
