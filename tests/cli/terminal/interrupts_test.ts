import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { PROGRAM } from "../../../lib/cli/arguments/options.ts";
import { linesOf } from "../../lines.ts";
import { isAlive, pidOutside } from "../../scheduler/project.ts";
import { until } from "../../until.ts";
import { CliProject } from "../project.ts";
import { CTRL_C, inTerminal } from "./pseudo_terminal.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/**
 * Runs a command in a terminal of its own, closes that when a stage reports
 * progress, and prints the exit code.
 */
const CLOSING_TERMINAL = `
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b""
while b"half of it" not in seen:
    seen += os.read(terminal, 65536)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

Deno.test("pipeline stops in order with 129 when its terminal is closed", async () => {
  using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 20 } }
`);
  const { stdout, stderr } = await new Deno.Command("python3", {
    args: ["-c", CLOSING_TERMINAL, Deno.execPath(), ...PROGRAM]
      .concat("pipeline", project.path("test.yaml"))
      .concat("--tasks", project.path("tasks"), "--out", project.path("out")),
    env: { TERM: "xterm", CI: "" },
  }).output();
  const decoder = new TextDecoder();
  assertEquals(decoder.decode(stdout), "129\n", decoder.decode(stderr));
  const { stdout: log } = await project.call("logs", "long");
  assertMatch(log, /^ +[\d.]+ {2}interrupted$/m);
});

Deno.test("pipeline stops at Ctrl-C with 130 and leaves nothing running", async () => {
  const signals = [["SIGINT", 130], ["SIGTERM", 143]] as const;
  await Promise.all(signals.map(async ([signal, expected]) => {
    using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 60 } }
  after: { task: make, with: { text: after }, inputs: { from: long } }
`);
    const process = project.spawn("pipeline", "--json");
    const lines: string[] = [];
    for await (const line of linesOf(process.stdout)) {
      lines.push(line);
      if (line.includes('"metric"')) process.kill(signal);
    }
    const { code } = await process.status;
    await process.stderr.cancel();
    assertEquals(code, expected);
    const events = lines.map((line) => JSON.parse(line));
    assertEquals(events.at(-1).type, "summary");
    assertEquals(events.at(-1).ran, 0);
    assert(
      events.some((it) => it.type === "interrupted" && it.stage === "long"),
    );
  }));
});

Deno.test("pipeline goes on under nohup when the terminal of the shell is closed", async () => {
  using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, waits: GO } }
`);
  const process = project.spawn("pipeline", "--json");
  let isSent = false;
  const lines: string[] = [];
  for await (const line of linesOf(process.stdout)) {
    lines.push(line);
    if (isSent || !line.includes('"metric"')) continue;
    isSent = true;
    process.kill("SIGHUP");
    // An interrupted stage would not wait for the file.
    setTimeout(() => project.write("go", ""), 500);
  }
  assertEquals((await process.status).code, 0, lines.join("\n"));
  await process.stderr.cancel();
  assertEquals(JSON.parse(lines.at(-1)!).ran, 1);
});

/**
 * A project whose stage does not heed an interrupt: it is killed 20 s later.
 */
function deaf(): CliProject {
  const project = new CliProject(`name: test
stages:
  deaf: { task: deaf }
`);
  project.write(
    "tasks/deaf.ts",
    `import * as z from "zod";
export default {
  description: "Does not heed an interrupt",
  params: z.object({}),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  async run(stage) {
    stage.progress(1, 2, "halves");
    stage.log("process " + Deno.pid);
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  },
};
`,
  );
  return project;
}

Deno.test("pipeline ends at once at a second Ctrl-C 0.3 s after the first, and its stages with it", async () => {
  using project = deaf();
  const process = project.spawn("pipeline", "--json");
  let child = 0;
  let start = NaN;
  for await (const line of linesOf(process.stdout)) {
    const [, told] = /"process (\d+)"/.exec(line) ?? [];
    if (told === undefined) continue;
    child = pidOutside(project.folder, Number(told));
    start = performance.now();
    // One press that reaches the pipeline from the terminal and from
    // `deno task`.
    process.kill("SIGINT");
    process.kill("SIGINT");
    setTimeout(() => process.kill("SIGINT"), 300);
  }
  const seconds = (performance.now() - start) / 1000;
  assert(seconds > 0.29 && seconds < 15, `it ended after ${seconds} s`);
  assertEquals((await process.status).code, 130);
  await process.stderr.cancel();
  await until(() => !isAlive(child), `process ${child} was gone`);
});

Deno.test("pipeline ends at once at a second Ctrl-C in a terminal, which signals `deno task` as well", async () => {
  using project = deaf();
  const start = performance.now();
  const { code, output } = await inTerminal([
    ...[Deno.execPath(), "task", "pipeline", project.path("test.yaml")],
    ...["--tasks", project.path("tasks"), "--out", project.path("out")],
  ], {
    cwd: ROOT,
    keys: [
      { after: "1/2 halves", send: CTRL_C },
      { after: "Stopping: waiting", wait: 0.3, send: CTRL_C },
    ],
  });
  const seconds = (performance.now() - start) / 1000;
  assertEquals(code, 130, output);
  assertMatch(output, /Stopping: waiting for stages/);
  assert(seconds < 18, `it ended after ${seconds} s`);
});

Deno.test("predict stops at Ctrl-C with 130 and removes its temporary folder", async () => {
  using project = new CliProject("");
  project.write(
    "tasks/classify.ts",
    `import * as z from "zod";
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
    args: [...PROGRAM, "predict", "some text", "--engine", "wasm"]
      .concat("--tasks", project.path("tasks"))
      .concat("--adapter", project.folder, "--model", project.folder),
    env: { TMPDIR: temporary },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = process.output();
  const isStarted = () =>
    [...Deno.readDirSync(temporary)]
      .some(({ name }) =>
        project.exists(`temporary/${name}/run/output/started`)
      );
  await until(isStarted, "the task had started");
  process.kill("SIGINT");
  const { code, stderr } = await output;
  assertEquals(code, 130, new TextDecoder().decode(stderr));
  assertEquals([...Deno.readDirSync(temporary)], []);
});

Deno.test("pipeline waits for a checkpoint also if its terminal is closed after Ctrl-C", async () => {
  using project = new CliProject(`name: test
stages:
  slow: { task: slow, with: { go: GO } }
`);
  project.write(
    "tasks/slow.ts",
    `import * as z from "zod";
export default {
  description: "Writes a checkpoint when there is a file go",
  params: z.object({ go: z.string() }),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  permissions: { read: () => [decodeURIComponent(new URL("..", import.meta.url).pathname)] },
  async run(stage) {
    const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    stage.log("begun");
    while (!stage.signal.aborted) await wait(20);
    const folder = stage.params.go.slice(0, -3);
    while (![...Deno.readDirSync(folder)].some(({ name }) => name === "go")) await wait(20);
    stage.saved("the end");
    stage.signal.throwIfAborted();
  },
};
`,
  );
  const process = project.spawn("pipeline", "--json");
  let text = "";
  let isSent = false;
  for await (
    const chunk of process.stdout.pipeThrough(new TextDecoderStream())
  ) {
    text += chunk;
    if (isSent || !text.includes('"begun"')) continue;
    isSent = true;
    process.kill("SIGINT");
    // Later than what counts as one press.
    setTimeout(() => {
      process.kill("SIGHUP");
      setTimeout(() => project.write("go", ""), 500);
    }, 400);
  }
  assertEquals((await process.status).code, 130);
  await process.stderr.cancel();
  assertMatch(
    text,
    /"type":"interrupted","stage":"slow","checkpoint":"the end"/,
  );
});

/**
 * A task that takes steps until it is interrupted, then writes a checkpoint,
 * from which it goes on.
 */
const STEPS = `
import * as z from "zod";
export default {
  description: "Takes steps",
  params: z.strictObject({}),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  async run(stage) {
    const checkpoint = stage.checkpoint + "/step";
    let step = 0;
    try {
      step = Number(Deno.readTextFileSync(checkpoint));
      stage.saved("step " + step);
    } catch { /* the first attempt */ }
    while (!stage.signal.aborted) {
      stage.progress(++step, 1e5, "steps");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    Deno.writeTextFileSync(checkpoint, String(step));
    stage.saved("step " + step);
    stage.signal.throwIfAborted();
  },
};
`;

/** A project whose stage takes steps for ever. */
function stepping(): CliProject {
  const project = new CliProject(`name: test
stages:
  steps: { task: steps }
`);
  project.write("tasks/steps.ts", STEPS);
  return project;
}

/**
 * Presses Ctrl-C once while the stage of a project takes steps; checks that it
 * went well, and returns the step of the checkpoint.
 */
async function pressOnce(
  project: CliProject,
  command: readonly string[],
): Promise<number> {
  const { code, output } = await inTerminal([
    ...command,
    "pipeline",
    project.path("test.yaml"),
    ...["--tasks", project.path("tasks"), "--out", project.path("out")],
  ], {
    cwd: ROOT,
    keys: [{ after: "/100000 steps", send: CTRL_C }],
  });
  assertEquals(code, 130, output);
  const [, step] =
    /steps: interrupted, checkpoint at step (\d+); run again to resume/
      .exec(output) ?? [];
  assert(step !== undefined, output);
  assertMatch(output, /1 stage: 0 ran, 1 interrupted, in /);
  return Number(step);
}

Deno.test("pipeline takes one press of Ctrl-C as one, although `deno task` passes on what the terminal has sent to both", async () => {
  using project = stepping();
  const step = await pressOnce(project, [Deno.execPath(), "task"]);
  const { stdout } = await project.call("status");
  assertMatch(stdout, /^interrupted +steps {2}log: /m);

  // A signal for the task runner alone reaches the pipeline, too.
  const runner = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "pipeline", project.path("test.yaml"), "--json"]
      .concat("--tasks", project.path("tasks"), "--out", project.path("out")),
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let text = "";
  let isSent = false;
  for await (
    const chunk of runner.stdout.pipeThrough(new TextDecoderStream())
  ) {
    text += chunk;
    if (isSent || !text.includes('"progress"')) continue;
    isSent = true;
    runner.kill("SIGINT");
  }
  assertEquals((await runner.status).code, 130, text);
  const [, next] = /"interrupted","stage":"steps","checkpoint":"step (\d+)"/
    .exec(text) ?? [];
  assert(Number(next) > step, text);
});

Deno.test(
  "pipeline writes a checkpoint at each of 20 presses of Ctrl-C through `deno task`",
  { ignore: Deno.env.get("DYLORA_LONG") !== "1" },
  async () => {
    using project = stepping();
    let step = 0;
    for (let press = 1; press <= 20; press++) {
      const next = await pressOnce(project, [Deno.execPath(), "task"]);
      assert(next > step, `press ${press}`);
      step = next;
    }
  },
);
