import { join } from "node:path";
import type { Cluster } from "../../slurm/cluster.ts";
import { ours } from "./ours.ts";
import { peers } from "./peers.ts";
import type { Tool } from "./tool.ts";

/**
 * Jobs that run at a time: as many as the nodes of the cluster have processors.
 */
const JOBS = 8;

/**
 * The tools that run stages as jobs of Slurm, on the same cluster, which must
 * have started. Both look at their jobs every second, but Snakemake's plugin
 * waits ten seconds longer each time that none has ended.
 */
export function onSlurm(
  tools: string | undefined,
  { folder }: Cluster,
): Tool[] {
  const profile = `executor: slurm\npartition: main\njobs: ${JOBS}\n`;
  const own: Tool = {
    ...ours,
    name: "ours on Slurm",
    env: { DYLORA_PROFILE: "profile.yaml" },
    prepare(folder, count) {
      ours.prepare(folder, count);
      Deno.writeTextFileSync(join(folder, "profile.yaml"), profile);
    },
  };
  const snakemake = tools === undefined
    ? undefined
    : peers(tools).find(({ name }) => name === "Snakemake");
  if (snakemake === undefined) return [own];
  const [program] = snakemake.command;
  // In a job, Snakemake calls srun without the variable that names the cluster.
  const bin = join(folder, "bin");
  Deno.mkdirSync(bin);
  Deno.writeTextFileSync(
    join(bin, "srun"),
    `#!/bin/sh\nSLURM_CONF=${folder}/slurm.conf exec /usr/bin/srun "$@"\n`,
    { mode: 0o755 },
  );
  return [own, {
    ...snakemake,
    name: "Snakemake on Slurm",
    env: { PATH: `${bin}:${Deno.env.get("PATH")}` },
    command: [
      program!,
      ...["--executor", "slurm", "--jobs", String(JOBS), "--quiet", "progress"],
      ...["--slurm-no-account", "--slurm-status-command", "squeue"],
      ...["--slurm-init-seconds-before-status-checks", "1"],
      ...["--seconds-between-status-checks", "1"],
      "--default-resources",
      "slurm_partition=main",
      ...["mem_mb=100", "runtime=5", "cpus_per_task=1"],
    ],
  }];
}
