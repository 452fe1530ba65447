import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { CliProject } from "./project.ts";

const MAIN = fileURLToPath(new URL("../../lib/cli/main.ts", import.meta.url));

/** Runs a command in a terminal of its own, closes that after two seconds, and prints the exit code. */
const CLOSING_TERMINAL = `
import fcntl, os, pty, struct, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
start = time.monotonic()
while time.monotonic() < start + 2:
    os.read(terminal, 65536)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

Deno.test("pipeline stops in order with 129 when its terminal is closed", async () => {
  using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 20 } }
`);
  const { stdout, stderr } = await new Deno.Command("python3", {
    args: ["-c", CLOSING_TERMINAL, Deno.execPath(), "run", "-A", MAIN]
      .concat("pipeline", project.path("test.yaml"))
      .concat("--tasks", project.path("tasks"), "--out", project.path("out")),
    env: { TERM: "xterm", CI: "" },
  }).output();
  const decoder = new TextDecoder();
  assertEquals(decoder.decode(stdout), "129\n", decoder.decode(stderr));
  const { stdout: log } = await project.call("logs", "long");
  assertMatch(log, /failed: Interrupted/);
});
