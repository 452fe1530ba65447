import type { Graph } from "../pipeline/graph.ts";
import type { Host } from "../engine/install/host.ts";
import type { NodeAnswer, Slurm } from "../scheduler/executors/slurm.ts";
import type { SlurmSettings } from "../scheduler/executors/slurm_settings.ts";
import type { Runtime } from "../scheduler/settings.ts";
import { digest } from "../store/digest.ts";
import { readSealed, writeSealed } from "../store/files.ts";
import { fromFileUrl, join } from "../store/paths.ts";
import type { Store } from "../store/store.ts";
import type { Arguments, Option } from "./arguments.ts";
import { engineOption, selectedEngine } from "./engine.ts";
import type { Message } from "./messages.ts";
import { PROJECT } from "./options.ts";

/** Selects what runs the stages. */
export const EXECUTOR: Option = {
  name: "executor",
  value: "NAME",
  choices: ["local", "slurm"],
  description:
    "What runs the stages: local or slurm (default: as your profile says, else local)",
};

/** Options of a run on a cluster. */
export const CLUSTER_OPTIONS: readonly Option[] = [
  EXECUTOR,
  {
    name: "detach",
    description:
      "With slurm: submit what is ready and leave; the same command finds the jobs again",
  },
  {
    name: "on-interrupt",
    value: "WHAT",
    choices: ["cancel", "leave"],
    description:
      "With slurm: what Ctrl-C does to jobs, cancel or leave (default: ask in a terminal, else cancel)",
  },
];

/**
 * The executor for Slurm, if the options or the user's profile select it.
 *
 * @param say Tells the user something that concerns no single stage.
 * @throws {PipelineError} If the profile has faults.
 */
export async function slurmExecutor(
  args: Arguments,
  say: (text: string) => void,
): Promise<{ executor: Slurm; settings: SlurmSettings } | undefined> {
  const profile = await readProfile();
  const name = args.value("executor") ?? profile?.executor ?? "local";
  if (name !== "slurm") return undefined;
  const { Slurm } = await import("../scheduler/executors/slurm.ts");
  const { MAX_JOBS, PACE } = await import(
    "../scheduler/executors/slurm_settings.ts"
  );
  const { executor: _, warning, ...own } = profile ?? {};
  const settings: SlurmSettings = {
    stages: {},
    ...own,
    jobs: args.integer("jobs", 1) ?? own.jobs ?? MAX_JOBS,
    detach: args.has("detach"),
    onInterrupt: args.value("on-interrupt") === "leave" ? "leave" : "cancel",
    pace: { ...PACE, ...(warning !== undefined && { warning }) },
  };
  return { executor: new Slurm(settings, say), settings };
}

/** The engine of the nodes, or of this machine, for commands that run no stages. */
export function plannedEngine(
  args: Arguments,
  graph: Graph,
  store: Store,
  say: (message: Message) => void = () => {},
): () => Promise<Runtime> {
  let runtime: Promise<Runtime> | undefined;
  const find = async () => {
    const note = (text: string) => say({ type: "note", text });
    const slurm = await slurmExecutor(args, note);
    const { signal } = new AbortController();
    const find = selectedEngine(
      args,
      say,
      undefined,
      slurm &&
        (() => nodeHost(args, slurm.executor, graph, store, note, signal)),
    );
    return await find();
  };
  return () => runtime ??= find();
}

/** What a profile file may contain, besides the settings of the executor that are options. */
type Profile =
  & { readonly executor?: "local" | "slurm"; readonly warning?: number }
  & Partial<Omit<SlurmSettings, "detach" | "onInterrupt" | "pace">>;

/** Path of the user's profile: `$DYLORA_PROFILE`, or `dylora/profile.yaml` in the user's configuration folder. */
function profilePath(): string | undefined {
  const { env } = Deno;
  const home = env.get("HOME");
  const folder = env.get("XDG_CONFIG_HOME") || home && join(home, ".config");
  return env.get("DYLORA_PROFILE") ||
    (folder ? join(folder, "dylora", "profile.yaml") : undefined);
}

/** Reads the user's profile, if there is one. */
async function readProfile(): Promise<Profile | undefined> {
  const path = profilePath();
  if (path === undefined || !isThere(path)) return undefined;
  const { loadProfile } = await import("./profile.ts");
  return await loadProfile(path) as Profile;
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      // A path that was given must be right.
      return Deno.env.get("DYLORA_PROFILE") === path;
    }
    throw error;
  }
}

/** Version of `nodes.json`. */
const VERSION = 1;

/**
 * Finds the facts about the nodes where the stages of a graph run that need the
 * engine. Short jobs ask them, one for all stages with the same partition and
 * constraint; the answers are kept in `cache/nodes.json`.
 *
 * @throws {Error} If a job fails, or the nodes are not of one kind.
 */
export async function nodeHost(
  args: Arguments,
  executor: Slurm,
  graph: Graph,
  store: Store,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<Host> {
  const tasks = new Map(
    [...graph.stages.values()]
      .filter(({ task, declaration: { needs, local } }) =>
        needs.length > 0 && executor.of({ task, local }) === executor
      )
      .map(({ task }) => [executor.nodesOf(task), task]),
  );
  const { thisHost } = await import("../engine/install/host.ts");
  if (tasks.size === 0) return thisHost;
  const program = fromFileUrl(import.meta.resolve("./node_facts.ts"));
  const path = store.path("nodes.json");
  const sealed = readSealed(path);
  const kept = sealed.state === "whole" && sealed.value.version === VERSION
    ? sealed.value.nodes as Record<string, NodeAnswer>
    : {};
  const answers: [string, NodeAnswer][] = [];
  for (const [nodes, task] of tasks) {
    const question = digest(`${nodes}\n${engineOption(args)}`).slice(0, 16);
    let answer = kept[question];
    if (answer === undefined) {
      say(`Asking a node (${nodes}) for its engine`);
      store.makeFolder("probes");
      answer = await executor.probe(
        task,
        {
          args: [
            ...["run", "--quiet", "--no-check", "--no-remote", "--no-prompt"],
            ...["--allow-read", "--allow-env", "--allow-run"],
            `--config=${join(PROJECT, "deno.json")}`,
            program,
            engineOption(args),
          ],
          env: nodeEnvironment(),
        },
        store.path("probes", crypto.randomUUID()),
        signal,
      );
      kept[question] = answer;
      writeSealed(path, { version: VERSION, nodes: kept });
    }
    executor.expect(nodes, answer.machine);
    answers.push([nodes, answer]);
  }
  const [[nodes, first], ...others] = answers as [
    [string, NodeAnswer],
    ...[string, NodeAnswer][],
  ];
  const other = others.find(([, { machine }]) => machine !== first.machine);
  if (other !== undefined) {
    throw new Error(
      `Nodes with ${nodes} have ${first.machine.trim()}, but those with ${
        other[0]
      } have ${
        other[1].machine.trim()
      }: select nodes of one kind for all stages that need the engine, by "partition" or "constraint" in the profile`,
    );
  }
  return hostOf(JSON.parse(first.text));
}

/** Variables that decide where the engine is installed. */
function nodeEnvironment(): Record<string, string> {
  const names = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME", "DYLORA_CACHE"];
  return Object.fromEntries(
    names.map((name) => [name, Deno.env.get(name)])
      .filter((pair): pair is [string, string] => pair[1] !== undefined),
  );
}

/** A node, by the answers that `node_facts.ts` has noted there. */
function hostOf(facts: Readonly<Record<string, unknown>>): Host {
  const answer = (...question: string[]) => facts[JSON.stringify(question)];
  return {
    target: String(facts.target),
    env: (name) => answer("env", name) as string | undefined,
    exists: (path) => answer("exists", path) === true,
    read: (path) => answer("read", path) as string | undefined,
    output: (program, ...args) =>
      Promise.resolve(answer("output", program, ...args) as string | undefined),
    webgpuAdapter: () =>
      Promise.resolve(
        (answer("webgpuAdapter") ?? undefined) as Awaited<
          ReturnType<Host["webgpuAdapter"]>
        >,
      ),
  };
}
