import { makeKey } from "../../lib/remote/signature.ts";
import { type Called, callHere, CliProject } from "../cli/project.ts";
import { withEnvironment } from "../environment.ts";

const PIPELINE = `name: test
stages:
  a:
    task: make
    with: { text: one }
  b:
    task: make
    with: { text: two }
    inputs: { from: [a] }
`;

/**
 * Two checkouts of a project with caches of their own, of a user with a key,
 * and a folder for a remote.
 */
export class Checkouts implements Disposable {
  readonly first: CliProject;
  readonly second: CliProject;
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;

  private constructor(
    pipeline: string,
    tasks: Readonly<Record<string, string>>,
  ) {
    this.first = new CliProject(pipeline);
    this.second = new CliProject(pipeline);
    for (const project of [this.first, this.second]) {
      for (const [name, text] of Object.entries(tasks)) {
        project.write(`tasks/${name}.ts`, text);
      }
    }
    this.folder = this.first.path("remote");
    this.env = {
      XDG_CONFIG_HOME: this.first.path("config"),
      DYLORA_REMOTE: `file://${this.folder}`,
      DYLORA_PROFILE: "",
    };
  }

  /** @param tasks Texts of tasks by their names, besides `make`. */
  static async open(
    pipeline = PIPELINE,
    tasks: Readonly<Record<string, string>> = {},
  ): Promise<Checkouts> {
    const checkouts = new Checkouts(pipeline, tasks);
    await makeKey(checkouts.first.path("config/dylora/remote-key.json"));
    return checkouts;
  }

  async run(
    project: CliProject,
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
    command = "pipeline",
  ): Promise<Called> {
    return await withEnvironment(
      { ...this.env, ...env },
      () => project.call(command, ...args),
    );
  }

  /** Runs the pipeline in the first checkout, which stores its results. */
  async store(env: Readonly<Record<string, string>> = {}): Promise<Called> {
    return await this.run(this.first, ["--remote-mode", "write"], env);
  }

  /** Calls `deno task cache` on a checkout. */
  async cache(
    project: CliProject,
    action: string,
    ...args: readonly string[]
  ): Promise<Called> {
    const [file, tasks, out] = ["test.yaml", "tasks", "out"]
      .map((it) => project.path(it)) as [string, string, string];
    const words = ["push", "pull"].includes(action)
      ? [action, file, "--tasks", tasks]
      : [action];
    return await withEnvironment(
      this.env,
      () => callHere("cache", ...words, ...args, "--out", out),
    );
  }

  [Symbol.dispose](): void {
    this.first[Symbol.dispose]();
    this.second[Symbol.dispose]();
  }
}
