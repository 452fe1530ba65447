import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Report } from "../../../lib/report/report.ts";
import { readTraining } from "../../tasks/reference_adapter.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

const TASKS = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"];

for (const protocol of ["paper", "scripts"]) {
  Deno.test({
    name:
      `pipeline glue-full runs every task by protocol ${protocol}, unchanged except for a tiny model and little data`,
    // Over 350 processes: `deno task rehearse` sets this.
    ignore: Deno.env.get("DYLORA_LONG") === undefined,
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        const [data, out] = [join(folder, "glue"), join(folder, "out")];
        await cutGlue(data);
        const { code, stdout, stderr } = await new Deno.Command(
          Deno.execPath(),
          {
            args: [
              ...["task", "pipeline", "glue-full"],
              ...["-S", `protocol=${protocol}`],
              ...["-S", "model=./fixtures/tiny-roberta"],
              ...["-S", `data=${data}`, "--out", out],
              // So small a model leaves most of a processor to others.
              ...["--cpus", "4", "--jobs", "2"],
            ],
            cwd: ROOT,
            env: { NO_COLOR: "1", CI: "1" },
          },
        ).output();
        const text = [stdout, stderr].map((it) => new TextDecoder().decode(it));
        assertEquals(code, 0, text.join(""));
        await checkResults(join(out, "glue-full"), protocol);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

/**
 * The tiny GLUE with the first examples of each file alone: up to 80 epochs are
 * a matter of seconds then.
 */
async function cutGlue(target: string): Promise<void> {
  const source = join(ROOT, "fixtures/tiny-glue");
  for await (const { name: task } of Deno.readDir(source)) {
    await Deno.mkdir(join(target, task), { recursive: true });
    for await (const { name } of Deno.readDir(join(source, task))) {
      const lines = (await Deno.readTextFile(join(source, task, name)))
        .split("\n").slice(0, 50);
      await Deno.writeTextFile(
        join(target, task, name),
        lines.join("\n") + (lines.at(-1) === "" ? "" : "\n"),
      );
    }
  }
}

async function checkResults(out: string, protocol: string): Promise<void> {
  const { comparisons }: Report = JSON.parse(
    await Deno.readTextFile(join(out, "report/report.json")),
  );
  const splits = TASKS.flatMap((task) =>
    task === "mnli"
      ? ["validation_matched", "validation_mismatched"].map((it) => [task, it])
      : [[task, "validation"]]
  );
  assertEquals(
    comparisons.map(({ task, split, epoch }) => [task, split, epoch].join())
      .sort(),
    splits.flatMap((it) => ["last", "best"].map((epoch) => [...it, epoch]))
      .map(String).sort(),
  );
  for (const { methods } of comparisons) {
    assertEquals(
      methods.map(({ method, ranks }) => [method, ranks.length]).sort(),
      [
        ["dylora", 8],
        ["full", 1],
        ["head", 1],
        ["lora", 8],
        ["lora-svd", 8],
        ["lora-truncated", 8],
      ],
    );
  }
  for (const task of TASKS) {
    const chained = protocol === "scripts" &&
      ["mrpc", "stsb", "rte"].includes(task);
    for (const [train, rank] of [["dylora", ""], ["lora", ",rank=2"]]) {
      const { start, padding, method } = await readTraining(
        join(out, `train-${train}@${task},seed=0${rank}`),
      );
      assertEquals(
        start,
        chained ? { method: train, task: "mnli", seed: 0 } : null,
      );
      assertEquals(padding, protocol === "paper" ? "longest" : "maxLength");
      if (method.name === "dylora") {
        assertEquals(method.mode, protocol === "paper" ? "all" : "frozen");
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
    assert(weights[0]!.every((byte, i) => byte === weights[1]![i]));
    const report = await Deno.readTextFile(join(out, "report/report.md"));
    assert(
      report.includes("Adapters were carried over from trainings on mnli"),
    );
  }
}
