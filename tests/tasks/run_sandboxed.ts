import { join } from "node:path";
import type { Task } from "../../lib/pipeline/task.ts";
import {
  permissionFlags,
  stageEnvironment,
} from "../../lib/scheduler/permissions.ts";
import { withEnvironment } from "./with_environment.ts";

const PROJECT = join(import.meta.dirname!, "../..");
const CHILD = import.meta.resolve("../../lib/scheduler/child.ts");

/** What a task's process left behind. */
export interface SandboxedResult {
  readonly code: number;
  readonly output: string;
  /** Its events and whatever else it wrote. */
  readonly text: string;
}

/**
 * Runs a task as the scheduler does: in a process of its own that may do
 * what the task declares and nothing else.
 */
export async function runSandboxed(
  name: string,
  folder: string,
  params: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string>> = {},
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
  const { flags, environment } = await withEnvironment(
    env,
    () =>
      Promise.resolve({
        flags: permissionFlags(permissions, {
          read: Object.values(task.sources?.(parsed) ?? {}),
          write: [output, checkpoint, temporary],
        }, []),
        environment: stageEnvironment(permissions, [], temporary),
      }),
  );
  const process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-check", "--cached-only"],
      ...["--config", join(PROJECT, "deno.json"), ...flags, entry],
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
    mark: "",
    params: parsed,
    inputs: {},
    output,
    checkpoint,
    cpus: 1,
    facilities: {},
  })));
  await stdin.close();
  const { code, stdout, stderr } = await process.output();
  const text = [stdout, stderr].map((x) => new TextDecoder().decode(x)).join(
    "",
  );
  return { code, output, text };
}
