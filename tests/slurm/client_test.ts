import { assert, assertEquals, assertRejects } from "@std/assert";
import { SlurmClient, SlurmError } from "../../lib/slurm/client.ts";
import { shadow } from "./cluster.ts";

/**
 * The kind of failure that a client finds when a command prints something and
 * fails.
 */
async function kindOf(
  command: string,
  printed: string,
  call: (client: SlurmClient) => Promise<unknown>,
  client = new SlurmClient(10),
): Promise<string> {
  using _command = shadow(command, `cat >&2 <<'END'\n${printed}\nEND\nexit 1`);
  const error = await assertRejects(() => call(client), SlurmError);
  return error.kind;
}

/** What `sbatch` prints below the name of the limit. */
const POLICY =
  "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";

Deno.test("SlurmClient.submit() tells limits that pass from those that a job exceeds by itself, and both from a controller that does not answer", async () => {
  const submit = (client: SlurmClient) => client.submit([], "");
  const failed = "sbatch: error: Batch job submission failed:";
  for (
    const [printed, kind] of [
      [`sbatch: error: QOSMaxSubmitJobPerUserLimit\n${POLICY}`, "limit"],
      [`sbatch: error: AssocMaxSubmitJobLimit\n${POLICY}`, "limit"],
      [POLICY, "limit"],
      [`${failed} Invalid job array specification`, "limit"],
      [
        `${failed} Slurm temporarily unable to accept job, sleeping and retrying`,
        "limit",
      ],
      [`sbatch: error: QOSMaxWallDurationPerJobLimit\n${POLICY}`, "refused"],
      [`sbatch: error: QOSMaxCpuPerUserLimit\n${POLICY}`, "refused"],
      [`sbatch: error: AssocMaxCpuPerJobLimit\n${POLICY}`, "refused"],
      [`${failed} Requested node configuration is not available`, "refused"],
      [`${failed} Invalid partition name specified`, "refused"],
      [
        `${failed} Unable to contact slurm controller (connect failure)`,
        "unreachable",
      ],
      [`${failed} Socket timed out on send/recv operation`, "unreachable"],
      [
        "sbatch: fatal: Could not establish a configuration source",
        "unusable",
      ],
      [
        "sbatch: error: failed to fetch remote configs: Unable to contact slurm controller (connect failure)\nsbatch: fatal: Could not establish a configuration source",
        "unreachable",
      ],
    ] as const
  ) assertEquals(await kindOf("sbatch", printed, submit), kind, printed);
});

Deno.test("SlurmClient waits for a controller that also gives clients their configuration, once it has answered", async () => {
  const client = new SlurmClient(10);
  const queue = () => client.queue();
  const printed = "squeue: fatal: Could not establish a configuration source";
  assertEquals(await kindOf("squeue", printed, queue, client), "unusable");
  {
    using _squeue = shadow("squeue", "exit 0");
    assertEquals(await client.queue(), []);
  }
  assertEquals(await kindOf("squeue", printed, queue, client), "unreachable");
});

Deno.test("SlurmClient gives up a command that hangs, even if it is a script that has started another", async () => {
  using _squeue = shadow("squeue", "sleep 30; true");
  const start = performance.now();
  const error = await assertRejects(
    () => new SlurmClient(0.2).queue(),
    SlurmError,
    "squeue did not answer within 0.2 s",
  );
  assertEquals(error.kind, "unreachable");
  assert(performance.now() - start < 20_000);
});

Deno.test("SlurmClient.cancel() does nothing for jobs that have ended", async () => {
  const client = new SlurmClient(10);
  const ended = "echo 'Job/step already completing or completed' >&2; exit 1";
  using _scancel = shadow("scancel", ended);
  await client.cancel(["7"]);
});
