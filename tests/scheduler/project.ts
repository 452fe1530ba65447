import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  declarationOf,
  type Graph,
  type GraphStage,
} from "../../lib/pipeline/graph.ts";
import { loadTask } from "../../lib/pipeline/load_task.ts";
import { local } from "../../lib/scheduler/executors/local.ts";
import type { SlurmSettings } from "../../lib/slurm/settings.ts";
import { linesOf } from "../lines.ts";
import type { Event, Summary } from "../../lib/scheduler/events.ts";
import { plan } from "../../lib/scheduler/plan.ts";
import { run } from "../../lib/scheduler/scheduler.ts";
import type { Runtime, Settings } from "../../lib/scheduler/settings.ts";
import { readIfThere } from "../../lib/files/files.ts";

/** Options of a stage in a test. */
export interface StageOptions {
  readonly task: string;
  readonly params?: Record<string, unknown>;
  readonly inputs?: Record<string, string[]>;
  readonly matrix?: Record<string, string | number>;
  readonly resources?: Partial<GraphStage["resources"]>;
  readonly mutex?: string;
  readonly retries?: number;
  readonly timeout?: number;
}

/** Settings with a runtime of this identity. */
export function engine(identity: string, more: Partial<Runtime> = {}) {
  const runtime: Runtime = {
    identity,
    settings: {},
    flags: [],
    read: [],
    env: {},
    prepare: () => Promise.resolve(),
    ...more,
  };
  return { runtimes: { engine: () => Promise.resolve(runtime) } };
}

/** Result of a run of a test project. */
export interface Ran {
  readonly summary: Summary;
  readonly events: readonly Event[];
  /** Ids of the stages that ran. */
  readonly ran: readonly string[];
}

/** A project in a temporary folder, with task modules and a `deno.json`. */
export class TestProject implements Disposable {
  readonly folder: string;

  /**
   * @param folder Folder of an existing test project; by default, a new one is
   * created.
   */
  constructor(folder?: string) {
    this.folder = folder ?? Deno.makeTempDirSync({ prefix: "project-" });
    if (folder !== undefined) return;
    Deno.mkdirSync(join(this.folder, "tasks"));
    this.write(
      "deno.json",
      JSON.stringify({ imports: { zod: "npm:zod@4.6.7" } }),
    );
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  write(path: string, text: string): void {
    Deno.mkdirSync(join(this.path(path), ".."), { recursive: true });
    Deno.writeTextFileSync(this.path(path), text);
  }

  read(...parts: string[]): string {
    return Deno.readTextFileSync(this.path(...parts));
  }

  /** Writes a lock file, which tasks with computed imports need. */
  lock(): void {
    const { npm } = JSON.parse(Deno.readTextFileSync("deno.lock"));
    const [specifier, name] = ["npm:zod@4.6.7", "zod@4.6.7"];
    this.write(
      "deno.lock",
      JSON.stringify({
        version: "5",
        specifiers: { [specifier]: "4.6.7" },
        npm: { [name]: npm[name] },
        workspace: { dependencies: [specifier] },
      }),
    );
  }

  /**
   * Writes a task whose `out.txt` is what the body returns. The body can use
   * `stage`, `params`, and `read(input)`, the `out.txt` of an input's first
   * artifact.
   */
  task(name: string, body: string, more: TaskOptions = {}): void {
    const { inputs = {}, params = "{}", head = "", rest = "" } = more;
    this.write(
      `tasks/${name}.ts`,
      `import * as z from "zod";
${head}
export default {
  description: ${JSON.stringify(name)},
  params: z.looseObject(${params}),
  inputs: ${JSON.stringify(inputs)},
  output: { kind: "text", files: ["out.txt"] },
  ${rest}
  // deno-lint-ignore no-explicit-any
  async run(stage: any) {
    const params = stage.params;
    // deno-lint-ignore no-explicit-any
    const readAll = (input: string) => (stage.inputs[input] ?? []).map((a: any) => Deno.readTextFileSync(a.path + "/out.txt"));
    const read = (input: string) => readAll(input)[0];
    const text = await (async () => { ${body} })();
    Deno.writeTextFileSync(stage.output + "/out.txt", String(text));
  },
};
`,
    );
  }

  async graph(stages: Record<string, StageOptions>): Promise<Graph> {
    const expanded = new Map<string, GraphStage>();
    for (const [id, options] of Object.entries(stages)) {
      const module =
        pathToFileURL(this.path("tasks", `${options.task}.ts`)).href;
      // Tests change modules, but Deno imports each URL only once.
      const text = Deno.readTextFileSync(new URL(module));
      const declared = await loadTask(`${module}#${text.length}`);
      expanded.set(id, {
        id,
        name: id.split("@")[0]!,
        matrix: options.matrix ?? {},
        task: options.task,
        module,
        declaration: declarationOf(declared),
        params: options.params ?? {},
        inputs: options.inputs ?? {},
        resources: { cpus: 1, gpu: 0, memory: 0, ...options.resources },
        ...(options.mutex && { mutex: options.mutex }),
        ...(options.timeout && { timeout: options.timeout }),
        retries: options.retries ?? 0,
      });
    }
    return { pipeline: "test", stages: expanded, show: [] };
  }

  settings(more: Partial<Settings> = {}): Settings {
    return {
      project: this.folder,
      out: this.path("out"),
      executor: local,
      runtimes: {},
      limits: { jobs: 2, cpus: 2, memory: 1e9, gpus: [] },
      force: new Set(),
      wait: true,
      keepGoing: true,
      grace: 2,
      cacheLimit: 1e9,
      ...more,
    };
  }

  async plan(
    stages: Record<string, StageOptions>,
    more: Partial<Settings> = {},
    targets: string[] = [],
  ) {
    return await plan(await this.graph(stages), targets, this.settings(more));
  }

  async run(
    stages: Record<string, StageOptions>,
    more: Partial<Settings> & { signal?: AbortSignal; targets?: string[] } = {},
  ): Promise<Ran> {
    const { signal = new AbortController().signal, targets = [], ...settings } =
      more;
    const events: Event[] = [];
    const summary = await run(
      await this.graph(stages),
      targets,
      this.settings(settings),
      (event) => events.push(event),
      signal,
    );
    return {
      summary,
      events,
      ran: events.flatMap((event) =>
        event.type === "finished" && event.outcome === "ran"
          ? [event.stage]
          : []
      ),
    };
  }

  /**
   * Runs the stages in a scheduler process, which can be killed.
   *
   * @param within A command that runs the command that follows it, such as
   * `strace`.
   */
  spawn(
    stages: Record<string, StageOptions>,
    { slurm, ...more }: Partial<Settings> & { slurm?: SlurmSettings } = {},
    within: readonly string[] = [],
  ): SchedulerProcess {
    const [program, ...before] = [...within, Deno.execPath()];
    const process = new Deno.Command(program!, {
      args: [
        ...before,
        "run",
        "-A",
        "--no-check",
        fileURLToPath(import.meta.resolve("./scheduler_process.ts")),
        JSON.stringify({ folder: this.folder, stages, more, slurm }),
      ],
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    return new SchedulerProcess(process);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

/**
 * Id by which this process knows a process of a stage, which may have another
 * one in the PID namespace of the stage.
 *
 * @param folder A folder that is in its environment.
 * @param pid The id in its own namespace.
 */
export function pidOutside(folder: string, pid: number): number {
  const found = [...Deno.readDirSync("/proc")].map(({ name }) => name)
    .filter((name) => /^\d+$/.test(name)).find((name) => {
      try {
        const status = Deno.readTextFileSync(`/proc/${name}/status`);
        return new RegExp(`^NSpid:.*\\t${pid}$`, "m").test(status) &&
          Deno.readTextFileSync(`/proc/${name}/environ`).includes(folder);
      } catch {
        return false; // It has just ended, or belongs to the kernel.
      }
    });
  if (found === undefined) throw new Error(`There is no process ${pid}`);
  return Number(found);
}

/** A scheduler in another process. */
export class SchedulerProcess {
  readonly process: Deno.ChildProcess;
  readonly events: Event[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #ended: Promise<void>;
  #hasEnded = false;

  constructor(process: Deno.ChildProcess) {
    this.process = process;
    this.#ended = this.#listen();
  }

  /**
   * Waits for an event.
   *
   * @throws {Error} If the process ends before.
   */
  async event(wanted: (event: Event) => boolean): Promise<Event> {
    for (;;) {
      const found = this.events.find(wanted);
      if (found !== undefined) return found;
      if (this.#hasEnded) {
        const last = JSON.stringify(this.events.slice(-5));
        throw new Error(`The scheduler ended before the event, after ${last}`);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#listeners.add(resolve);
      await promise;
    }
  }

  /** Waits for its end and returns the last event. */
  async end(): Promise<Event | undefined> {
    await this.#ended;
    await this.process.status;
    return this.events.at(-1);
  }

  async #listen(): Promise<void> {
    for await (const line of linesOf(this.process.stdout)) {
      this.events.push(JSON.parse(line));
      this.#notify();
    }
    this.#hasEnded = true;
    this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}

/** Options of a task in a test. */
export interface TaskOptions {
  readonly inputs?: Record<
    string,
    { kind: string; many?: boolean; optional?: boolean }
  >;
  /** Source of the zod shape of its parameters. */
  readonly params?: string;
  /** Source before the task: imports, helpers. */
  readonly head?: string;
  /** Source of more members of the task. */
  readonly rest?: string;
}

/** True for a process that has not ended, as a zombie has. */
export function isAlive(pid: number): boolean {
  return /^State:\s+[^ZX]/m.test(readIfThere(`/proc/${pid}/status`) ?? "");
}
