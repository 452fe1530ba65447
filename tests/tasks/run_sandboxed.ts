import { assert } from "@std/assert";
import { join } from "node:path";
import type { InputArtifact, Task } from "../../lib/pipeline/task.ts";
import type { Runtime } from "../../lib/scheduler/settings.ts";
import {
  sandboxOf,
  stageEnvironment,
} from "../../lib/scheduler/permissions.ts";
import { withEnvironment } from "../environment.ts";

const PROJECT = join(import.meta.dirname!, "../..");
const CHILD = import.meta.resolve("../../lib/scheduler/child.ts");

/** What a task's process left behind. */
export interface SandboxedResult {
  readonly code: number;
  readonly output: string;
  /** Its events and whatever else it wrote. */
  readonly text: string;
}

/** What a task is given besides its parameters. */
export interface SandboxOptions {
  /** Environment variables of the scheduler. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * The artifacts for each input, or their folders where a task asks for no
   * more.
   */
  readonly inputs?: Readonly<
    Record<string, string | readonly (string | InputArtifact)[]>
  >;
  readonly runtimes?: Readonly<Record<string, Runtime>>;
}

/**
 * Runs a task as the scheduler does: in a process of its own that may do
 * what the task declares and nothing else.
 */
export async function runSandboxed(
  name: string,
  folder: string,
  params: Readonly<Record<string, unknown>>,
  { env = {}, inputs = {}, runtimes = {} }: SandboxOptions = {},
): Promise<SandboxedResult> {
  const module = import.meta.resolve(`../../tasks/${name}.ts`);
  const { default: task }: { default: Task } = await import(module);
  const own = await Deno.makeTempDir({ dir: folder });
  const [output, checkpoint, temporary] = ["output", "checkpoint", "tmp"].map(
    (name) => join(own, name),
  ) as [string, string, string];
  for (const path of [output, checkpoint, temporary]) await Deno.mkdir(path);
  const entry = join(own, "entry.js");
  await Deno.writeTextFile(
    entry,
    `import task from ${JSON.stringify(module)};
     import { perform } from ${JSON.stringify(CHILD)};
     await perform(task);`,
  );
  const { permissions = {} } = task;
  const parsed = task.params.parse(params);
  const needed = Object.values(runtimes);
  const artifacts = Object.entries(inputs).map(([name, given]) =>
    [
      name,
      [given].flat().map((artifact) =>
        typeof artifact === "string"
          ? { stage: name, matrix: {}, path: artifact }
          : artifact
      ),
    ] as const
  );
  const read = [
    ...artifacts.flatMap(([, given]) => given.map(({ path }) => path)),
    ...Object.values(task.sources?.(parsed) ?? {}),
  ];
  const write = [output, checkpoint, temporary];
  const [events, printed] = ["events", "stdout"].map((it) =>
    join(temporary, it)
  ) as [string, string];
  await Deno.writeTextFile(printed, "");
  const { sandbox, environment } = await withEnvironment(
    env,
    () =>
      Promise.resolve({
        sandbox: sandboxOf(permissions, { read, write }, needed),
        environment: stageEnvironment(permissions, needed, temporary, PROJECT),
      }),
  );
  assert("flags" in sandbox);
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-check", "--cached-only"],
      ...["--config", join(PROJECT, "deno.json"), ...sandbox.flags, entry],
    ],
    env: environment,
    clearEnv: true,
    cwd: own,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stdin = process.stdin.getWriter();
  await stdin.write(new TextEncoder().encode(JSON.stringify({
    events,
    stdout: printed,
    params: parsed,
    inputs: Object.fromEntries(artifacts),
    output,
    checkpoint,
    cpus: 1,
    runtimes: Object.fromEntries(
      Object.entries(runtimes).map((
        [name, { settings }],
      ) => [name, settings]),
    ),
  })));
  await stdin.close();
  const { code, stdout, stderr } = await process.output();
  const text = [stdout, stderr].map((x) => new TextDecoder().decode(x)).join(
    "",
  ) + await Deno.readTextFile(events);
  return { code, output, text };
}
