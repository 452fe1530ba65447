import type {
  Cluster,
  Execution,
  Job,
  NodeAnswer,
} from "../scheduler/executors/executor.ts";
import { makeStart } from "../scheduler/runs.ts";
import { removeFolder } from "../files/files.ts";
import { join } from "../files/paths.ts";
import { readEnd } from "./script.ts";

/** Seconds that a probe may take. */
const PROBE_SECONDS = 300;

/**
 * Runs a short program on a node where the stages of a task run.
 *
 * @param program Arguments of the Deno executable.
 * @param folder A folder that is created for it, and removed.
 * @returns What it prints, and the node's processors and GPUs.
 * @throws {Error} If it fails.
 */
export async function probe(
  slurm: Pick<Cluster, "nodesOf"> & {
    start(job: Job, seesGpus: boolean): Execution;
  },
  task: string,
  program: Pick<Job, "args" | "env">,
  folder: string,
  signal: AbortSignal,
): Promise<NodeAnswer> {
  try {
    const { spec } = makeStart(folder);
    Deno.writeTextFileSync(spec, "");
    const job: Job = {
      ...program,
      name: "probe",
      task,
      needs: [],
      resources: { cpus: 1, gpus: 0, memory: 0, time: PROBE_SECONDS },
      startsPrograms: true,
      folder,
      checkpoint: join(folder, "checkpoint"),
      onState() {},
    };
    const execution = slurm.start(job, true);
    const stop = () => execution.stop(0);
    signal.addEventListener("abort", stop, { once: true });
    const ended = await execution.ended;
    signal.removeEventListener("abort", stop);
    signal.throwIfAborted();
    const read = (name: string) => Deno.readTextFileSync(join(folder, name));
    if (!("code" in ended) || ended.code !== 0) {
      const reason = "code" in ended
        ? read("stderr").trim() || `code ${ended.code}`
        : ended.reason;
      throw new Error(
        `The job that probes the engine of a node (${
          slurm.nodesOf(task)
        }) failed: ${reason}`,
      );
    }
    return { text: read("stdout"), machine: readEnd(folder)!.machine };
  } finally {
    removeFolder(folder);
  }
}
