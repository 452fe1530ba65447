import { existsSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { dirname, join } from "node:path";
import { PROGRAM, PROJECT } from "../../lib/cli/arguments/options.ts";
import { run } from "../../lib/cli/main.ts";
import { taskCode } from "../../lib/scheduler/context.ts";
import { keepWithin } from "../../lib/store/cleanup.ts";
import { Store } from "../../lib/store/store.ts";
import { setTerminal, withEnvironment } from "../environment.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The result of a call of the command line. */
export interface Called {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The lines of its standard output. */
  readonly lines: readonly string[];
  /** The lines of its standard output, each parsed as JSON. */
  // deno-lint-ignore no-explicit-any
  json(): any[];
}

/**
 * A task that writes its inputs and its text to `out.txt`. By its parameters,
 * it waits for some seconds or for a file, fails or writes nothing.
 */
const MAKE = `
import * as z from "zod";
export default {
  description: "Writes a text below those of its inputs",
  params: z.strictObject({
    text: z.string(),
    size: z.number().int().default(1),
    fail: z.boolean().default(false),
    empty: z.boolean().default(false),
    seconds: z.number().default(0),
    waits: z.string().optional(),
  }),
  inputs: { from: { kind: "text", many: true, optional: true } },
  output: { kind: "text", files: ["out.txt"] },
  permissions: { read: () => [decodeURIComponent(new URL("../go", import.meta.url).pathname)] },
  async run(stage) {
    const { text, fail, empty, seconds, waits } = stage.params;
    stage.log("makes " + text);
    stage.metric("length", text.length);
    stage.progress(1, 2, "steps", "half of it");
    const mayGo = () => {
      try {
        Deno.statSync(waits);
        return true;
      } catch {
        return false;
      }
    };
    for (
      let i = 0;
      (i < seconds * 50 || waits && !mayGo()) && !stage.signal.aborted;
      i++
    ) await new Promise((resolve) => setTimeout(resolve, 20));
    stage.signal.throwIfAborted();
    if (fail) throw new Error("Told to fail");
    if (empty) return;
    const inputs = (stage.inputs.from ?? []).map(({ path }) =>
      Deno.readTextFileSync(path + "/out.txt"));
    Deno.writeTextFileSync(stage.output + "/out.txt", inputs.join("") + text + "\\n");
  },
};
`;

/** A pipeline whose middle stage has a matrix of one dimension. */
export const TASKS_PIPELINE = `name: test
params: { word: one }
stages:
  start: { task: make, with: { text: "\${params.word}" } }
  middle:
    task: make
    matrix: { glue: [mrpc, cola] }
    with: { text: "\${matrix.glue}" }
    inputs: { from: start }
  end: { task: make, with: { text: end }, inputs: { from: middle[*] } }
`;

/** A pipeline with a matrix of two dimensions and a file that is shown. */
export const RANKS_PIPELINE = `name: test
params: { word: one, last: end, extra: {} }
show: end/out.txt
stages:
  start: { task: make, with: { text: "start \${params.word}" } }
  middle:
    task: make
    matrix: { glue: [mrpc, cola], rank: [1, 2] }
    with: { text: "\${matrix.glue} \${matrix.rank}" }
    inputs: { from: start }
  other: { task: make, with: { text: other, <<: \${params.extra} } }
  end:
    task: make
    with: { text: \${params.last} }
    inputs: { from: [middle[*], other] }
`;

/**
 * A temporary folder with a pipeline and its tasks, on which commands are
 * called.
 */
export class CliProject implements Disposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "cli-" });
  #isCalledHere = false;
  /**
   * True if this process may have imported a task that has been edited since:
   * Deno imports a module once.
   */
  #isStale = false;

  /**
   * @param pipeline Its text; GO stands for the path of the file `go`, for
   * which a stage may wait.
   */
  constructor(pipeline: string) {
    Deno.mkdirSync(this.path("tasks"));
    this.write("tasks/make.ts", MAKE);
    this.write("test.yaml", pipeline.replaceAll("GO", this.path("go")));
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  write(path: string, text: string): void {
    this.#isStale ||= this.#isCalledHere && path.startsWith("tasks/");
    Deno.writeTextFileSync(this.path(path), text);
  }

  read(path: string): string {
    return Deno.readTextFileSync(this.path(path));
  }

  edit(path: string, from: string | RegExp, to: string): void {
    const text = this.read(path);
    const edited = text.replace(from, to);
    if (edited === text) throw new Error(`"${from}" is not in "${path}"`);
    this.write(path, edited);
  }

  exists(path: string): boolean {
    return existsSync(this.path(path));
  }

  /**
   * Calls a command on the project's pipeline: in this process, unless another
   * one is being called or a task was edited.
   */
  call(command: string, ...args: string[]): Promise<Called> {
    if (isCalling || this.#isStale) return this.callWith({}, command, ...args);
    this.#isCalledHere = true;
    return callHere(...this.#words(command, args));
  }

  /**
   * As {@linkcode CliProject.call}, in a process of its own, with its options.
   */
  callWith(
    options: CallOptions,
    command: string,
    ...args: string[]
  ): Promise<Called> {
    return callMainWith(options, ...this.#words(command, args));
  }

  /** Starts a command on the project's pipeline. */
  spawn(command: string, ...args: string[]): Deno.ChildProcess {
    return commandOf(this.#words(command, args)).spawn();
  }

  #words(command: string, args: readonly string[]): string[] {
    const [file, tasks, out] = ["test.yaml", "tasks", "out"]
      .map((it) => this.path(it)) as [string, string, string];
    return [command, file, "--tasks", tasks, "--out", out, ...args];
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/**
 * What a process has written to standard error, but for what Deno says when
 * another one is starting in this checkout.
 */
export function errorsOf(text: string): string {
  return text.replaceAll(/^Blocking waiting for file lock on .*\n/gm, "");
}

/** Calls the command line. */
export function callMain(...args: string[]): Promise<Called> {
  return callMainWith({}, ...args);
}

/** True while a command is being called in this process. */
let isCalling = false;

/**
 * Calls the command line in this process, which takes a tenth of the time: for
 * commands that read no standard input, one after the other.
 */
export async function callHere(...args: string[]): Promise<Called> {
  const decoder = new TextDecoder();
  const { log, error } = console;
  const { writeSync } = Deno.stdout;
  const folder = Deno.cwd();
  isCalling = true;
  let [stdout, stderr] = ["", ""];
  console.log = (line: string) => void (stdout += `${line}\n`);
  console.error = (line: string) => void (stderr += `${line}\n`);
  Deno.stdout.writeSync = (bytes) => {
    stdout += decoder.decode(bytes, { stream: true });
    return bytes.length;
  };
  using _none = setTerminal(false);
  Deno.chdir(ROOT);
  try {
    const code = await withEnvironment({ NO_COLOR: "1" }, () => run(args));
    return called(code, stdout, stderr);
  } finally {
    Deno.chdir(folder);
    Object.assign(console, { log, error });
    Deno.stdout.writeSync = writeSync;
    isCalling = false;
  }
}

/** Starts the command line. */
export function spawnMain(...args: string[]): Deno.ChildProcess {
  return commandOf(args).spawn();
}

/** How the command line is called. */
interface CallOptions {
  readonly env?: Record<string, string>;
  /** Standard input. */
  readonly input?: string | Uint8Array<ArrayBuffer>;
  /** Further flags of Deno. */
  readonly flags?: readonly string[];
}

/** Calls the command line with options of the process. */
export async function callMainWith(
  { env = {}, input, flags = [] }: CallOptions,
  ...args: string[]
): Promise<Called> {
  const stdin = input === undefined ? "null" : "piped";
  const process = commandOf(args, { env, stdin }, flags).spawn();
  if (input !== undefined) {
    await new Blob([input]).stream().pipeTo(process.stdin);
  }
  const { code, stdout, stderr } = await process.output();
  const decoder = new TextDecoder();
  return called(code, decoder.decode(stdout), errorsOf(decoder.decode(stderr)));
}

function called(code: number, stdout: string, stderr: string): Called {
  const lines = stdout.split("\n").slice(0, -1);
  return {
    code,
    stdout,
    stderr,
    lines,
    json: () => lines.map((line) => JSON.parse(line)),
  };
}

function commandOf(
  args: readonly string[],
  { env = {}, stdin = "null" }: Pick<Deno.CommandOptions, "env" | "stdin"> = {},
  flags: readonly string[] = [],
): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, ...PROGRAM.slice(1), ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdin,
    stdout: "piped",
    stderr: "piped",
  });
}

/**
 * A new output folder in which the code of the project's own tasks is bundled,
 * which takes seconds: `out/tests` keeps it from run to run. The folder is
 * removed at the end of the file of tests.
 */
export async function outWithCode(): Promise<string> {
  const tasks = join(PROJECT, "tasks");
  const modules = [...Deno.readDirSync(tasks)].map(({ name }) => name)
    .filter((name) => name.endsWith(".ts"))
    .map((name) => pathToFileURL(join(tasks, name)).href);
  const out = Deno.makeTempDirSync();
  addEventListener("unload", () => Deno.removeSync(out, { recursive: true }));
  const [kept, own] = [join(PROJECT, "out/tests"), out]
    .map((folder) => new Store(join(folder, "cache"))) as [Store, Store];
  const lock = join(kept.makeFolder(), "bundling.lock");
  // Another process of tests may be bundling the same.
  using file = Deno.openSync(lock, { create: true, write: true });
  await file.lock(true);
  // Code of tasks as they were is in no result.
  await keepWithin(kept, 500e6);
  for (const { bundle } of (await taskCode(modules, PROJECT, kept)).values()) {
    const path = own.blobs.path(bundle);
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.copyFileSync(kept.blobs.path(bundle), path);
  }
  Deno.copyFileSync(kept.path("memo.json"), own.path("memo.json"));
  return out;
}
