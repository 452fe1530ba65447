import {
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import fc from "fast-check";
import { rankScale } from "../../lib/engine/methods/method.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { modelCard } from "../../tasks/export-adapter.ts";
import { modulesOf } from "../../lib/engine/adapters/peft.ts";
import { writeRanks } from "../../lib/artifacts/ranks.ts";
import type { Training } from "../../lib/artifacts/training.ts";
import exportAdapter from "../../tasks/export-adapter.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
  referenceTensors,
} from "./reference_adapter.ts";
import { runTask, withFolder } from "./run_task.ts";

const TRUNCATED: Training = {
  ...REFERENCE_TRAINING,
  method: "lora-truncated",
  scaling: "maximum",
  mode: null,
  sampler: null,
  scope: null,
};
const MODULES = modulesOf(Object.keys(referenceTensors("roberta")));

Deno.test("export-adapter copies the files of PEFT byte for byte at the adapter's own rank", () =>
  withFolder(async (folder) => {
    for (const family of ["roberta", "bert"]) {
      const adapter = await referenceAdapter(
        folder,
        REFERENCE_TRAINING,
        family,
      );
      const { output } = await runTask(exportAdapter, folder, {}, { adapter });
      for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
        assertEquals(
          await Deno.readFile(join(output, file)),
          await Deno.readFile(join(adapter, file)),
        );
      }
      const card = await Deno.readTextFile(join(output, "README.md"));
      assertMatch(card, new RegExp(`"org/tiny-${family}", num_labels=2`));
    }
  }));

Deno.test("export-adapter writes a README that loads the base model from the hub, the user's baseModel or a folder", () => {
  const lineOf = (
    name: string,
    named = false,
    revision: string | null = null,
  ) =>
    modelCard(
      {
        baseModel: { name, revision },
        named,
        task: "rte",
        labels: null,
        modules: ["query"],
      },
      new Map([["layer.0.query", 2]]),
    ).split("\n").find((line) => line.includes("num_labels"))!.trim();
  const head = ', num_labels=1, problem_type="regression")';
  assertEquals(lineOf("org/name"), `"org/name"${head}`);
  assertEquals(
    lineOf("org/name", false, "abc"),
    `"org/name", revision="abc"${head}`,
  );
  assertEquals(
    lineOf("pypi:tiny==0.1.0"),
    `"the folder of the model pypi:tiny==0.1.0"${head}`,
  );
  assertEquals(lineOf("tiny"), `"the folder of the model tiny"${head}`);
  assertEquals(lineOf("../tiny", true), `"../tiny"${head}`);
});

Deno.test("export-adapter cuts each module to its rank and keeps the scale of the engine", () =>
  withFolder(async (folder) => {
    const whole = referenceTensors("roberta");
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(REFERENCE_TRAINING, TRUNCATED),
        fc.array(fc.integer({ min: 1, max: 4 }), {
          minLength: MODULES.length,
          maxLength: MODULES.length,
        }),
        async (training, chosen) => {
          const modules = new Map(MODULES.map((name, i) => [name, chosen[i]!]));
          const ranks = await Deno.makeTempDir({ dir: folder });
          const { task, method } = training;
          await writeRanks(ranks, { task, method, modules, choice: null });
          const adapter = await referenceAdapter(folder, training);
          const { output } = await runTask(exportAdapter, folder, {}, {
            adapter,
            ranks,
          });
          const config = await readConfig(output);
          using file = SafetensorsFile.open(
            join(output, "adapter_model.safetensors"),
          );
          for (const [module, rank] of modules) {
            const prefix = `base_model.model.roberta.encoder.${module}`;
            const nameA = `${prefix}.lora_A.weight`;
            const nameB = `${prefix}.lora_B.weight`;
            const [a, b] = [file.floats(nameA), file.floats(nameB)];
            assertEquals(file.tensors.get(nameA)!.shape, [rank, 64]);
            assertEquals(file.tensors.get(nameB)!.shape, [64, rank]);
            for (let k = 0; k < rank; k++) {
              for (let i = 0; i < 64; i++) {
                assertEquals(a[k * 64 + i], whole[nameA]!.values[k * 64 + i]);
                assertEquals(b[i * rank + k], whole[nameB]!.values[i * 4 + k]);
              }
            }
            const scale = (config.alpha_pattern?.[module] ??
              config.lora_alpha) / (config.rank_pattern?.[module] ?? config.r);
            const [expected] = rankScale(rank, 8, 4, training.scaling);
            assertEquals(Math.fround(scale), expected);
          }
        },
      ),
      { numRuns: 25, seed: 1 },
    );
  }));

Deno.test("export-adapter rejects ranks that the adapter does not have", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const take = (
      params: Parameters<typeof exportAdapter.params.parse>[0] & object,
      inputs: Record<string, string> = {},
    ) => runTask(exportAdapter, folder, params, { adapter, ...inputs });
    await assertRejects(
      () => take({ rank: 5 }),
      Error,
      "Rank 5 exceeds the adapter's rank 4",
    );
    await assertRejects(
      () => take({ rank: "recommended" }),
      Error,
      'requires the input "report": connect a stage of the task',
    );
    await assertRejects(
      () => take({ epoch: "best" }),
      Error,
      "has no best epoch",
    );
    const ranks = await Deno.makeTempDir({ dir: folder });
    const write = (modules: [string, number][], task = "sst2") =>
      writeRanks(ranks, {
        task,
        method: "dylora",
        modules: new Map(modules),
        choice: null,
      });
    await write(MODULES.map((name) => [name, 2]), "rte");
    await assertRejects(
      () => take({}, { ranks }),
      Error,
      'chosen for dylora on "rte", but the adapter is dylora on "sst2"',
    );
    await write(MODULES.slice(1).map((name) => [name, 2]));
    await assertRejects(
      () => take({}, { ranks }),
      Error,
      '"layer.0.attention.self.query" is only in the adapter',
    );
    await write(MODULES.map((name) => [name, 5]));
    assertIsError(
      await assertRejects(() => take({}, { ranks })),
      Error,
      /Rank 5 of .* exceeds .* rank 4/,
    );
    await assertRejects(
      () => take({ rank: 2 }, { ranks }),
      Error,
      'parameter "rank" and the input "ranks" exclude each other',
    );
  }));

async function readConfig(folder: string) {
  return JSON.parse(
    await Deno.readTextFile(join(folder, "adapter_config.json")),
  ) as {
    r: number;
    lora_alpha: number;
    rank_pattern?: Record<string, number>;
    alpha_pattern?: Record<string, number>;
  };
}
