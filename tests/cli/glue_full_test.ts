import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Report } from "../../lib/report/report.ts";
import { readTraining } from "../../tasks/artifacts/training.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const TASKS = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"];

for (const protocol of ["paper", "scripts"]) {
  Deno.test({
    name:
      `pipeline glue-full runs every task by protocol ${protocol}, with a tiny model and tiny data`,
    // Over 120 processes: `deno task rehearse` sets this.
    ignore: Deno.env.get("DYLORA_LONG") === undefined,
    async fn() {
      const out = await Deno.makeTempDir();
      try {
        const { code, stdout, stderr } = await new Deno.Command(
          Deno.execPath(),
          {
            args: [
              ...["task", "pipeline", "glue-full", "--profile", "trial"],
              ...["-S", `protocol=${protocol}`],
              ...["-S", "model=./fixtures/tiny-roberta"],
              ...["-S", "data=./fixtures/tiny-glue"],
              ...["--out", out],
            ],
            cwd: ROOT,
            env: { NO_COLOR: "1", CI: "1" },
          },
        ).output();
        const text = [stdout, stderr].map((it) => new TextDecoder().decode(it));
        strictEqual(code, 0, text.join(""));
        await checkResults(join(out, "glue-full"), protocol);
      } finally {
        await Deno.remove(out, { recursive: true });
      }
    },
  });
}

async function checkResults(out: string, protocol: string): Promise<void> {
  const { comparisons } = Report.parse(
    JSON.parse(await Deno.readTextFile(join(out, "report/report.json"))),
  );
  const splits = TASKS.flatMap((task) =>
    task === "mnli"
      ? ["validation_matched", "validation_mismatched"].map((it) => [task, it])
      : [[task, "validation"]]
  );
  deepStrictEqual(
    comparisons.map(({ task, split, epoch }) => [task, split, epoch].join())
      .sort(),
    splits.flatMap((it) => ["last", "best"].map((epoch) => [...it, epoch]))
      .map(String).sort(),
  );
  for (const { methods } of comparisons) {
    deepStrictEqual(
      methods.map(({ method, ranks }) => [method, ranks.length]).sort(),
      [
        ["dylora", 2],
        ["full", 1],
        ["head", 1],
        ["lora", 1],
        ["lora-svd", 2],
        ["lora-truncated", 2],
      ],
    );
  }
  for (const task of TASKS) {
    const chained = protocol === "scripts" &&
      ["mrpc", "stsb", "rte"].includes(task);
    for (const [train, rank] of [["dylora", ""], ["lora", ",rank=2"]]) {
      const { start, padding, mode } = await readTraining(
        join(out, `train-${train}@${task},seed=0${rank}`),
      );
      deepStrictEqual(
        start,
        chained ? { method: train, task: "mnli", seed: 0 } : null,
      );
      strictEqual(padding, protocol === "paper" ? "longest" : "maxLength");
      if (train === "dylora") {
        strictEqual(mode, protocol === "paper" ? "all" : "frozen");
      }
    }
  }
  if (protocol === "scripts") {
    // What the chain starts from is what MNLI is scored with.
    const weights = await Promise.all(
      ["train-dylora@mnli,seed=0", "mnli-dylora@rte,seed=0"].map((stage) =>
        Deno.readFile(join(out, stage, "adapter_model.safetensors"))
      ),
    );
    ok(weights[0]!.every((byte, i) => byte === weights[1]![i]));
    const report = await Deno.readTextFile(join(out, "report/report.md"));
    ok(report.includes("Adapters were carried over from trainings on mnli"));
  }
}
