/**
 * Runs on a node of a cluster, and prints what the choice of an engine depends
 * on there: the questions that it asks of its host, and their answers.
 */
import type { EngineName } from "../engine/install/choice.ts";
import { selectEngine } from "../engine/install/choose.ts";
import { hasBfloat16, type Host, thisHost } from "../engine/install/host.ts";

const facts: Record<string, unknown> = { target: thisHost.target };

/** Notes the answer to a question. */
function noted<T>(question: readonly string[], answer: T): T {
  facts[JSON.stringify(question)] = answer;
  return answer;
}

const host: Host = {
  target: thisHost.target,
  env: (name) => noted(["env", name], thisHost.env(name)),
  exists: (path) => noted(["exists", path], thisHost.exists(path)),
  read: (path) => noted(["read", path], thisHost.read(path)),
  output: async (program, ...args) =>
    noted(
      ["output", program, ...args],
      await thisHost.output(program, ...args),
    ),
  webgpuAdapter: async () =>
    noted(["webgpuAdapter"], await thisHost.webgpuAdapter()),
};
const choice = await selectEngine(Deno.args[0] as EngineName | "auto", host);
await hasBfloat16(choice, host);
console.log(JSON.stringify(facts));
