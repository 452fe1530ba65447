/** Trainings of the pipeline smoke, whose adapters must not change: what one commit trained, the next continues, reduces and compares. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { PEFT_FILES } from "../../lib/peft/adapter.ts";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import { selectEngine } from "../../lib/engine/install/choose.ts";
import {
  hasBfloat16,
  instructionsOf,
  thisHost,
} from "../../lib/engine/install/host.ts";
import type { Task } from "../../lib/pipeline/task.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import tokenize from "../../tasks/tokenize.ts";
import trainDylora from "../../tasks/train-dylora.ts";
import trainLora from "../../tasks/train-lora.ts";
import { runTask, withFolder } from "./run_task.ts";

/** SHA-256 of the adapters by name, for each kind of processor, whose instructions decide the order of sums. */
type Digests = Record<string, Record<string, string>>;

const path = join(import.meta.dirname!, "same_bytes.json");
const digests: Digests = JSON.parse(Deno.readTextFileSync(path));
const fixtures = join(import.meta.dirname!, "../../fixtures");
const model = join(fixtures, "tiny-roberta");

const choice = await selectEngine("tensorflow");
const instructions = await instructionsOf(choice, thisHost);
const processor = `${choice.identity}: ${instructions}`;
const updates = Deno.env.get("UPDATE_GOLDEN") === "1";
const known = digests[processor];

Deno.test({
  name: `adapters of smoke have the bytes of earlier commits${
    known || updates ? "" : `, which are not known for ${processor}`
  }`,
  ignore: known === undefined && !updates,
  fn: () =>
    withFolder(async (folder) => {
      await choice.prepare();
      const { output: data } = await runTask(fetchGlue, folder, {
        task: "sst2",
        source: join(fixtures, "tiny-glue"),
        splits: ["train", "validation"],
      });
      const from = { model, data };
      const { output: tokens } = await runTask(tokenize, folder, {}, from);
      const train = { alpha: 16, epochs: 6, batchSize: 32, learningRate: 5e-3 };
      const { engine, device, library } = choice;
      const settings = {
        engine,
        device,
        library: library!,
        bfloat16: hasBfloat16(instructions),
      };
      const trained = async (name: string, task: Task, rank: number) => {
        const { output } = await runTask(task, folder, { ...train, rank }, {
          model,
          tokens,
        }, { cpus: 2, runtimes: { engine: settings } });
        return await Promise.all(PEFT_FILES.map(async (file) =>
          [
            `${name} ${file}`,
            await digestOf(join(output, file)),
          ] as const
        ));
      };
      const found = Object.fromEntries([
        ...await trained("dylora 8", trainDylora as Task, 8),
        ...await trained("lora 1", trainLora as Task, 1),
        ...await trained("lora 8", trainLora as Task, 8),
      ]);
      if (updates) {
        digests[processor] = found;
        Deno.writeTextFileSync(path, JSON.stringify(digests, null, 2) + "\n");
      } else assertEquals(found, known);
    }),
});
