import { join } from "node:path";
import { PROJECT } from "../../../lib/cli/arguments/options.ts";
import type { GraphStage } from "../../../lib/pipeline/graph.ts";
import { openContext, openStore } from "../../../lib/scheduler/context.ts";
import { local } from "../../../lib/scheduler/executors/local.ts";
import { inNamespace } from "../../../lib/scheduler/executors/local.ts";
import type {
  Execution,
  Executor,
  Job,
} from "../../../lib/scheduler/executors/executor.ts";
import { hasLandlock } from "../../../lib/scheduler/landlock.ts";
import { decide } from "../../../lib/scheduler/plan.ts";
import { follow } from "../../../lib/scheduler/process.ts";
import {
  makeRunFolder,
  type StartFolder,
} from "../../../lib/scheduler/runs.ts";
import { makeVisible } from "../../../lib/scheduler/visible.ts";
import type { Manifest } from "../../../lib/store/manifests.ts";
import { type StageOptions, TestProject } from "../../scheduler/project.ts";
import { spend, type Spent } from "./spent.ts";

/** A part of what a stage costs. */
export interface Part {
  readonly name: string;
  work(): Promise<Spent>;
}

/** Parts that can be timed until they are disposed of. */
interface Parts extends AsyncDisposable {
  readonly parts: readonly Part[];
}

/** Stage `next` copies what `first` wrote. */
const STAGES: Readonly<Record<string, StageOptions>> = {
  first: { task: "first" },
  next: { task: "next", inputs: { from: ["first"] } },
};

function smallProject(): TestProject {
  const project = new TestProject();
  const inputs = { from: { kind: "text" } };
  project.task("first", "return 1;");
  project.task("next", "return read('from');", { inputs });
  project.task("native", "return read('from');", {
    inputs,
    rest: 'needs: ["engine"],',
  });
  return project;
}

/** A runtime with native code, which does nothing. */
const engine = () =>
  Promise.resolve({
    identity: "engine 1",
    settings: {},
    flags: ["--allow-ffi"],
    read: [],
    env: {},
    prepare: () => Promise.resolve(),
  });

/** Runs stages as `local` does, but holds one of them until it is let go. */
class Holding implements Executor {
  readonly allots = false;
  readonly reap = local.reap;
  readonly held: Promise<Job>;
  readonly #hold: (job: Job) => void;
  readonly #go = Promise.withResolvers<void>();
  readonly #stage: string;

  constructor(stage: string) {
    this.#stage = stage;
    const { promise, resolve } = Promise.withResolvers<Job>();
    this.held = promise;
    this.#hold = resolve;
  }

  letGo(): void {
    this.#go.resolve();
  }

  start(job: Job): Execution {
    if (job.name !== this.#stage) return local.start(job);
    this.#hold(job);
    const later = this.#go.promise.then(() => local.start(job));
    return {
      started: later.then(({ started }) => started),
      ended: later.then(({ ended }) => ended),
      stop: async (grace) => (await later).stop(grace),
    };
  }
}

/**
 * What the process of a stage costs: a ladder of processes, each of which does
 * more than the one before. They run in the run folder of a stage that is held.
 */
export async function processParts(): Promise<Parts> {
  const plain = await hold("next", STAGES);
  const native = hasLandlock()
    ? await hold("native", {
      ...STAGES,
      native: { task: "native", inputs: { from: ["first"] } },
    })
    : undefined;
  const { job } = plain;
  const flags = job.args.slice(0, -1);
  const bundle = job.args.at(-1)!;
  const write = (name: string, text: string) => {
    const path = join(job.folder, "tmp", name);
    Deno.writeTextFileSync(path, text);
    return path;
  };
  const empty = write("empty.js", "export {};\n");
  const idle = write(
    "idle.js",
    Deno.readTextFileSync(bundle).replace(/\nawait perform\(.*\);\n$/, "\n"),
  );
  const deno = Deno.execPath();
  const bare = ["run", "--quiet", "--no-check", "--no-config", "--no-lock"];
  const ladder: [string, Job, readonly string[]][] = [
    ["process: namespace, of a program that does nothing", job, [
      ...inNamespace(["/bin/true"]),
    ]],
    ["process: deno, of an empty module", job, [deno, ...bare, empty]],
    ["process: and permissions", job, [deno, ...flags, empty]],
    ["process: and the bundle, without its run", job, [deno, ...flags, idle]],
    ["process: and its run", job, [deno, ...flags, bundle]],
    ["process: and the namespace: all", job, [
      ...inNamespace([deno, ...job.args]),
    ]],
  ];
  if (native !== undefined) {
    const { args } = native.job;
    const rules = args.findIndex((it) => it.endsWith("rules.json"));
    ladder.push(
      ["process: Landlock's launcher, of a program that does nothing", job, [
        ...[deno, ...args.slice(0, rules + 1), "/bin/true"],
      ]],
      ["process: and the namespace and Landlock: all", native.job, [
        ...inNamespace([deno, ...args]),
      ]],
    );
  }
  const parts = ladder.map(([name, job, command]): Part => ({
    name,
    work: () => spend("children", () => runToEnd(job, command)),
  }));
  const watch = {
    stage: "next",
    folder: job.folder,
    emit: () => {},
    timeout: undefined,
    grace: 1,
    signal: new AbortController().signal,
  };
  parts.push({
    name: "scheduler: spawn the process and follow it",
    work: () => spend("self", () => follow(() => local.start(job), watch)),
  });
  return {
    parts,
    async [Symbol.asyncDispose]() {
      await plain.end();
      await native?.end();
    },
  };
}

/** Runs a pipeline as far as the start of a stage. */
async function hold(
  stage: string,
  stages: Readonly<Record<string, StageOptions>>,
) {
  const project = smallProject();
  const executor = new Holding(stage);
  const ran = project.run({ ...stages }, {
    project: PROJECT,
    executor,
    runtimes: { engine },
  });
  const job = await Promise.race([
    executor.held,
    ran.then(({ events }) => {
      throw new Error(JSON.stringify(events));
    }),
  ]);
  return {
    job,
    async end() {
      executor.letGo();
      // Its outcome says nothing: the scheduler has read the events of all
      // parts as those of the stage.
      await ran;
      project[Symbol.dispose]();
    },
  };
}

async function runToEnd(
  job: Job,
  [program, ...args]: readonly string[],
): Promise<void> {
  using input = Deno.openSync(join(job.folder, "spec.json"));
  const process = new Deno.Command(program!, {
    args,
    cwd: job.folder,
    env: { ...job.env, STAGE_RUN: job.folder },
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [{ success }, , error] = await Promise.all([
    process.status,
    new Response(process.stdout).text(),
    new Response(process.stderr).text(),
    // A program that reads nothing closes its end.
    input.readable.pipeTo(process.stdin).catch(() => {}),
  ]);
  if (!success) throw new Error(`${program} ${args.join(" ")}: ${error}`);
}

/** What a stage costs in the scheduler's own process. */
export async function schedulerParts(): Promise<Parts> {
  const project = smallProject();
  const more = { project: PROJECT };
  await project.run({ ...STAGES }, more);
  const graph = await project.graph({ ...STAGES });
  const settings = project.settings(more);
  const store = openStore(settings);
  const context = await openContext(graph, [], settings, store);
  const [first, next] = [...graph.stages.values()] as [GraphStage, GraphStage];
  const results = new Map<string, Manifest>();
  const resultOf = async (stage: GraphStage) => {
    const decided = await decide(context, stage, results);
    if (!("manifest" in decided)) throw new Error(`${stage.id} has no result`);
    results.set(stage.id, decided.manifest);
    return decided;
  };
  await resultOf(first);
  const decided = await resultOf(next);
  let serial = 0;
  const part = (name: string, work: (ready: Ready) => unknown): Part => ({
    name: `scheduler: ${name}`,
    async work() {
      using attempt = makeRunFolder(store, "test", "next", "key");
      const folder = { ...attempt.start(), log: attempt.log };
      const output = join(folder.output, "out.txt");
      Deno.writeTextFileSync(output, String(serial++));
      Deno.writeTextFileSync(folder.log, `{"type":"x${serial}"}\n`);
      return await spend("self", () => work({ folder, output }));
    },
  });
  const { signal } = new AbortController();
  const run = { ...context, emit: () => {}, signal, waiting: signal };
  return {
    parts: [
      part("decide", () => decide(context, next, results)),
      part("make and remove the run folder", () => {
        using folder = makeRunFolder(store, "test", "next", "key");
        folder.start();
      }),
      part("store the files and the log", async ({ folder, output }) => {
        await store.blobs.put(output);
        await store.blobs.put(folder.log);
      }),
      part("write the manifest", () => {
        store.manifests.write(decided.manifest);
      }),
      part("note the result in the history", async () => {
        await store.histories.ended("test", "next", {
          state: "failed",
          key: decided.key,
          message: "",
          ended: "",
          log: "",
        });
      }),
      part("make the output visible", ({ folder }) => {
        return makeVisible(run, next.id, decided.manifest, folder.output);
      }),
    ],
    [Symbol.asyncDispose]() {
      project[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

interface Ready {
  readonly folder: StartFolder & { readonly log: string };
  readonly output: string;
}
