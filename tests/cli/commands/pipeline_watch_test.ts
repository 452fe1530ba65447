import { assertEquals, assertMatch } from "@std/assert";
import { PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { linesOf } from "../../lines.ts";
import { CliProject } from "../project.ts";

const PIPELINE = `name: test
stages:
  start: { task: copy, with: { file: FILE } }
`;

const COPY = `
import * as z from "zod";
export default {
  description: "Copies a file",
  params: z.strictObject({ file: z.string() }),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  sources: ({ file }) => ({ file }),
  async run({ params, output }) {
    Deno.copyFileSync(params.file, output + "/out.txt");
  },
};
`;

/** Starts `pipeline --watch`. */
function watch(project: CliProject) {
  const process = project.spawn("pipeline", "--watch");
  const told = linesOf(process.stderr);
  const printed = linesOf(process.stdout);
  return {
    told,
    /**
     * Waits until a run has ended and the files are watched; gives its summary.
     */
    async ended(): Promise<string> {
      for (let line = ""; !line.startsWith("Watching ");) {
        line = (await told.next()).value;
      }
      let line = "";
      while (!/^Nothing to do|^1 stage:/.test(line)) {
        line = (await printed.next()).value;
      }
      return line;
    },
    async stop(): Promise<void> {
      process.kill("SIGINT");
      assertEquals((await process.status).code, 130);
      await Promise.all([told.return(undefined), printed.return(undefined)]);
    },
  };
}

Deno.test("pipeline --watch runs again when a source, a task or the file changes, and ends at one signal", async () => {
  using project = new CliProject(PIPELINE);
  project.write("tasks/copy.ts", COPY);
  project.write("source.txt", "one");
  project.edit("test.yaml", "FILE", project.path("source.txt"));
  const { told, ended, stop } = watch(project);
  assertMatch(await ended(), /1 ran/);
  const output = () => project.read("out/test/start/out.txt");
  assertEquals(output(), "one");

  project.write("source.txt", "two, longer");
  assertMatch((await told.next()).value, /source\.txt changed$/);
  assertMatch(await ended(), /1 ran/);
  assertEquals(output(), "two, longer");

  project.edit(
    "tasks/copy.ts",
    "Deno.copyFileSync",
    "/* same */ Deno.copyFileSync",
  );
  assertMatch((await told.next()).value, /copy\.ts changed$/);
  assertMatch(await ended(), /^Nothing to do/);

  // A fault of the file is told, and does not end it.
  project.edit("test.yaml", "task: copy", "task: cpy");
  assertMatch((await told.next()).value, /test\.yaml changed$/);
  assertMatch((await told.next()).value, /Unknown task "cpy"/);
  project.edit("test.yaml", "task: cpy", "task: copy");
  assertMatch(await ended(), /^Nothing to do/);

  await stop();
});

Deno.test("pipeline --watch runs no more for a module or a source that the pipeline has dropped", async () => {
  using project = new CliProject(PIPELINE);
  project.write("tasks/copy.ts", `import "../helper.ts";${COPY}`);
  project.write("helper.ts", "");
  project.write("source.txt", "one");
  project.write("other.txt", "two");
  project.edit("test.yaml", "FILE", project.path("source.txt"));
  const { told, ended, stop } = watch(project);
  /** Gives it time to run once more, which it must not. */
  const rest = async () => {
    await ended();
    await new Promise((resolve) => setTimeout(resolve, 800));
  };
  await ended();
  project.edit("tasks/copy.ts", 'import "../helper.ts";', "");
  assertMatch((await told.next()).value, /copy\.ts changed$/);
  await rest();
  project.edit("test.yaml", "source.txt", "other.txt");
  assertMatch((await told.next()).value, /test\.yaml changed$/);
  await rest();
  project.write("other.txt", "three, longer");
  assertMatch((await told.next()).value, /other\.txt changed$/);
  await ended();
  await stop();
});

/**
 * Runs a command in a terminal of its own, presses Ctrl-C once when it prints a
 * text, and prints the exit code.
 */
const ONE_PRESS = `
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
seen, pressed = b"", False
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data: break
    seen += data
    if not pressed and sys.argv[1].encode() in seen:
        pressed = True
        os.write(terminal, b"\\x03")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(seen.decode())
`;

Deno.test("pipeline --watch ends in order at one Ctrl-C during a run", async () => {
  using project = new CliProject(`name: test
stages:
  start: { task: make, with: { text: x, seconds: 60 } }
`);
  const { stdout, stderr } = await new Deno.Command("python3", {
    args: ["-c", ONE_PRESS, "start", Deno.execPath(), ...PROGRAM]
      .concat("pipeline", project.path("test.yaml"), "--watch")
      .concat("--tasks", project.path("tasks"), "--out", project.path("out")),
    env: { TERM: "xterm", CI: "" },
  }).output();
  const decoder = new TextDecoder();
  const [code, ...lines] = decoder.decode(stdout).split("\n");
  const told = lines.join("\n") + decoder.decode(stderr);
  assertEquals(code, "130", told);
  assertMatch(told, /Stopping: waiting for stages/);
});
