import type { GraphStage } from "../../pipeline/graph.ts";
import type { Context } from "../context.ts";
import type { Claim } from "./limits.ts";

/** What a stage holds of the machine: what it asks for, and the GPUs that its runtimes compute on. */
export function claimOf(
  { runtimes }: Pick<Context, "runtimes">,
  { declaration, resources, mutex }: GraphStage,
): Claim {
  const needed = declaration.needs.map((name) => runtimes.get(name)?.gpus ?? 0);
  return {
    ...resources,
    gpu: Math.max(resources.gpu, ...needed),
    ...(mutex !== undefined && { mutex }),
  };
}
