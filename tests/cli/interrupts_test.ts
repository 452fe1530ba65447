import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { pidOutside } from "../scheduler/project.ts";
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

Deno.test("pipeline stops at Ctrl-C with 130 and leaves nothing running", async () => {
  for (
    const [signal, expected] of [
      ["SIGINT", 130],
      ["SIGTERM", 143],
      ["SIGHUP", 129],
    ] as const
  ) {
    using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 60 } }
  after: { task: make, with: { text: after }, inputs: { from: long } }
`);
    const process = project.spawn("pipeline", "--json");
    const lines: string[] = [];
    for await (
      const chunk of process.stdout.pipeThrough(new TextDecoderStream())
    ) {
      lines.push(...chunk.split("\n").filter((it) => it !== ""));
      if (chunk.includes('"metric"')) process.kill(signal);
    }
    const { code } = await process.status;
    await process.stderr.cancel();
    assertEquals(code, expected);
    const events = lines.map((line) => JSON.parse(line));
    assertEquals(events.at(-1).type, "summary");
    assertEquals(events.at(-1).ran, 0);
    assert(events.some((it) => it.type === "failed" && it.stage === "long"));
  }
});

Deno.test("pipeline ends at once at the second Ctrl-C, and its stages with it", async () => {
  using project = new CliProject(`name: test
stages:
  deaf: { task: deaf }
`);
  project.write(
    "tasks/deaf.ts",
    `import { z } from "zod";
export default {
  description: "Does not heed an interrupt",
  params: z.object({}),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  async run(stage) {
    stage.log("process " + Deno.pid);
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  },
};
`,
  );
  const process = project.spawn("pipeline", "--json");
  let child = 0;
  let interrupts = 0;
  for await (
    const chunk of process.stdout.pipeThrough(new TextDecoderStream())
  ) {
    const [, told] = /"process (\d+)"/.exec(chunk) ?? [];
    if (told !== undefined) child ||= pidOutside(project.folder, Number(told));
    if (child > 0 && interrupts < 2) {
      interrupts++;
      process.kill("SIGINT");
    }
  }
  assertEquals((await process.status).code, 130);
  await process.stderr.cancel();
  for (let tries = 0; isAlive(child); tries++) {
    assert(tries < 100, `process ${child} is left`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

Deno.test("predict stops at Ctrl-C with 130 and removes its temporary folder", async () => {
  using project = new CliProject("");
  project.write(
    "tasks/classify.ts",
    `import { z } from "zod";
export default {
  description: "Waits until it is interrupted",
  params: z.looseObject({}),
  inputs: {},
  output: { kind: "text", files: [] },
  async run(stage) {
    Deno.writeTextFileSync(stage.output + "/started", "");
    while (!stage.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 20));
    stage.signal.throwIfAborted();
  },
};
`,
  );
  const temporary = project.path("temporary");
  Deno.mkdirSync(temporary);
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, "predict", "some text", "--engine", "wasm"]
      .concat("--tasks", project.path("tasks"))
      .concat("--adapter", project.folder, "--model", project.folder),
    env: { TMPDIR: temporary },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = process.output();
  const isStarted = () =>
    [...Deno.readDirSync(temporary)]
      .some(({ name }) => project.exists(`temporary/${name}/output/started`));
  for (let tries = 0; !isStarted(); tries++) {
    assert(tries < 1000, "the task does not start");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  process.kill("SIGINT");
  const { code, stderr } = await output;
  assertEquals(code, 130, new TextDecoder().decode(stderr));
  assertEquals([...Deno.readDirSync(temporary)], []);
});

function isAlive(process: number): boolean {
  try {
    return !/^State:\s+Z/m.test(
      Deno.readTextFileSync(`/proc/${process}/status`),
    );
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
