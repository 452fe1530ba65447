import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { slurmTest } from "../../scheduler/executors/cluster.ts";
import { stateOf } from "../../scheduler/executors/waiting_stages.ts";
import { CliProject } from "../project.ts";

const MAIN = fileURLToPath(
  new URL("../../../lib/cli/main.ts", import.meta.url),
);

/** Runs a command in a terminal, types Ctrl-C when its job runs and a letter when it asks, and prints what it wrote and its exit code. */
const TYPING = `
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
text, typed = b"", 0
while True:
    try:
        read = os.read(terminal, 65536)
    except OSError:
        break
    text += read
    if typed == 0 and b"half of it" in text:
        typed = os.write(terminal, b"\\x03")
    if typed == 1 and b"Cancel the jobs" in text:
        typed = os.write(terminal, (sys.argv[1] + "\\n").encode())
sys.stdout.buffer.write(text)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

slurmTest(
  "pipeline asks at Ctrl-C in a terminal whether to cancel its jobs or to leave them",
  async () => {
    using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 60 } }
`);
    for (const answer of ["l", "c"]) {
      const { stdout } = await new Deno.Command("python3", {
        args: ["-c", TYPING, answer, Deno.execPath(), "run", "-A", MAIN]
          .concat("pipeline", project.path("test.yaml"), "--executor", "slurm")
          .concat("--tasks", project.path("tasks"))
          .concat("--out", project.path("out")),
        env: { TERM: "xterm", CI: "" },
      }).output();
      const text = new TextDecoder().decode(stdout);
      assertMatch(text, /130\n$/);
      const [, job] = /job (\d+)/.exec(text)!;
      assertEquals(
        /PENDING|RUNNING/.test(await stateOf(job!)),
        answer === "l",
        text,
      );
    }
  },
);
