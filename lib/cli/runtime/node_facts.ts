/**
 * Runs on a node of a cluster: selects an engine, and prints as JSON what the
 * selection has asked of the host, with the answers.
 */
import type { EngineName } from "../../engine/install/choice.ts";
import { selectEngine } from "../../engine/install/choose.ts";
import {
  type Host,
  instructionsOf,
  thisHost,
} from "../../engine/install/host.ts";

const facts: Record<string, unknown> = { target: thisHost.target };

/** Records the answer to a question. */
function recorded<T>(question: readonly string[], answer: T): T {
  facts[JSON.stringify(question)] = answer;
  return answer;
}

const host: Host = {
  target: thisHost.target,
  env: (name) => recorded(["env", name], thisHost.env(name)),
  exists: (path) => recorded(["exists", path], thisHost.exists(path)),
  read: (path) => recorded(["read", path], thisHost.read(path)),
  output: async (program, ...args) =>
    recorded(
      ["output", program, ...args],
      await thisHost.output(program, ...args),
    ),
  webgpuAdapter: async () =>
    recorded(["webgpuAdapter"], await thisHost.webgpuAdapter()),
};
const choice = await selectEngine(Deno.args[0] as EngineName | "auto", host);
await instructionsOf(choice, host);
console.log(JSON.stringify(facts));
