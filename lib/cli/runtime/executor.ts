import type { Host } from "../../engine/install/host.ts";
import type { Graph } from "../../pipeline/graph.ts";
import { digest } from "../../files/digest.ts";
import { statIfThere } from "../../files/files.ts";
import { join } from "../../files/paths.ts";
import type { NodeAnswer, Slurm } from "../../slurm/executor.ts";
import type { Store } from "../../store/store.ts";
import { type Arguments, UsageError } from "../arguments/arguments.ts";
import { openPipeline } from "../arguments/open_pipeline.ts";
import { outOf, PROJECT, settingsOf } from "../arguments/options.ts";
import type { Message } from "../terminal/messages.ts";
import type { Profile } from "./profile.ts";
import { engineOption, selectedEngine } from "./engine.ts";

/** Maximum number of stages that run or wait in the queue of a cluster. */
const MAX_QUEUED = 10_000;

/**
 * Opens a pipeline with the settings of a run with these arguments, for
 * commands that run stages, or read or plan what a run does. Its engine is that
 * of the nodes or of this machine, which is found when it is needed.
 *
 * An executor for a cluster is the one that the options or the user's profile
 * select, if any.
 *
 * @param options.patterns As of {@linkcode openPipeline}.
 * @param options.say Prints messages about the engine and the cluster.
 * @param options.signal Stops an installation, and questions to nodes.
 * @throws {PipelineError} If the profile has faults.
 * @throws {UsageError} If an option for clusters is given to another executor.
 */
export async function openRun(
  args: Arguments,
  { patterns, say = () => {}, signal }: {
    readonly patterns?: readonly string[];
    readonly say?: (message: Message) => void;
    readonly signal?: AbortSignal;
  } = {},
) {
  const settings = await settingsOf(args);
  const opened = await openPipeline(args, patterns);
  const { graph, selected, store } = opened;
  const forced = selected.length > 0 ? selected : graph.stages.keys();
  const note = (text: string) => say({ type: "note", text });
  const { executor, remote: _, ...profile } = await readProfile() ?? {};
  const name = args.value("executor") ?? executor ?? "local";
  if (name !== "slurm" && args.has("detach")) {
    throw new UsageError(
      `Option "--detach" requires "--executor slurm": the executor "${name}" submits no jobs`,
    );
  }
  let cluster: Slurm | undefined;
  if (name === "slurm") {
    const { Slurm } = await import("../../slurm/executor.ts");
    const { settingsIn } = await import("../../slurm/settings.ts");
    const folder = join(outOf(args), "cache", "schedulers");
    const defaults = { folder, jobs: args.integer("jobs", 1) };
    cluster = new Slurm(settingsIn(profile, defaults), note);
  }
  const findHost = cluster &&
    (() => nodeHost(args, cluster, graph, store, say, signal));
  const engine = selectedEngine(args, { say, signal, findHost });
  return {
    ...opened,
    cluster,
    settings: {
      ...settings,
      force: new Set(args.has("force") ? forced : []),
      runtimes: { engine },
      ...(cluster && {
        executor: cluster,
        limits: { ...settings.limits, jobs: MAX_QUEUED },
      }),
    },
  };
}

/**
 * The path of a file in the user's configuration folder; undefined if the user
 * has none.
 */
export function configFile(name: string): string | undefined {
  const home = Deno.env.get("HOME");
  const folder = Deno.env.get("XDG_CONFIG_HOME") ||
    home && join(home, ".config");
  return folder ? join(folder, "dylora", name) : undefined;
}

/**
 * Reads the user's profile, if there is one: `$DYLORA_PROFILE`, which must
 * exist, or `dylora/profile.yaml` in the user's configuration folder.
 */
export async function readProfile(): Promise<Profile | undefined> {
  const usual = configFile("profile.yaml");
  const isThere = usual !== undefined && statIfThere(usual) !== undefined;
  const path = Deno.env.get("DYLORA_PROFILE") || (isThere ? usual : undefined);
  if (path === undefined) return undefined;
  const { loadProfile } = await import("./profile.ts");
  return await loadProfile(path);
}

const SECTION = "node-facts";

/** Variables that decide where the engine is installed. */
const INSTALLED_BY = "HOME PATH DENO_DIR XDG_CACHE_HOME DYLORA_CACHE".split(
  " ",
);

/**
 * Describes the nodes that run the stages which need the engine. A short job
 * asks a node of each partition and constraint; the memo keeps the answers.
 *
 * @throws {Error} If a job fails, or the nodes are not of one kind.
 */
async function nodeHost(
  args: Arguments,
  executor: Slurm,
  graph: Graph,
  store: Store,
  say: (message: Message) => void,
  signal = new AbortController().signal,
): Promise<Host> {
  const tasks = new Map(
    [...graph.stages.values()]
      .filter(({ task, declaration: { needs, local } }) =>
        needs.length > 0 && executor.of(task, local) === executor
      )
      .map(({ task }) => [executor.nodesOf(task), task]),
  );
  const { thisHost } = await import("../../engine/install/host.ts");
  if (tasks.size === 0) return thisHost;
  const { recordedHost } = await import(
    "../../engine/install/node_facts.ts"
  );
  const program = {
    args: [
      // Without all permissions, Deno hides what /proc says of the processor.
      "run",
      "--quiet",
      "--no-check",
      "--no-remote",
      "-A",
      `--config=${join(PROJECT, "deno.json")}`,
      join(PROJECT, "lib/engine/install/node_facts.ts"),
      engineOption(args),
    ],
    env: Object.fromEntries(
      INSTALLED_BY.map((name) => [name, Deno.env.get(name) ?? ""])
        .filter(([, value]) => value !== ""),
    ),
  };
  let first: { nodes: string; answer: NodeAnswer } | undefined;
  for (const [nodes, task] of tasks) {
    const question = await digest(`${nodes}\n${engineOption(args)}`);
    let answer = store.memo.get<NodeAnswer>(SECTION, question);
    if (answer === undefined) {
      say({ type: "note", text: `Asking a node (${nodes}) for its engine` });
      store.makeFolder("probes");
      const folder = store.path("probes", crypto.randomUUID());
      answer = await executor.probe(task, program, folder, signal);
      store.memo.set(SECTION, question, answer);
      await store.memo.save();
    }
    executor.expect(nodes, answer.machine);
    first ??= { nodes, answer };
    if (answer.machine === first.answer.machine) continue;
    throw new Error(
      `Nodes with ${first.nodes} have ${first.answer.machine.trim()}, but those with ${nodes} have ${answer.machine.trim()}: select nodes of one kind for all stages that need the engine, by "partition" or "constraint" in the profile`,
    );
  }
  return recordedHost(JSON.parse(first!.answer.text));
}
