/** Steps of training a LoRA on a decoder beside PEFT and PyTorch, in float32. */
import { assert, assertEquals } from "@std/assert";
import { basename, join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { fromTensors } from "../../../lib/engine/models/parameters.ts";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { fixed } from "../../../lib/engine/schedules/fixed.ts";
import { padBatch } from "../../../lib/engine/training/batch.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { assertClose, fixture, read } from "../reference.ts";
import { optimizer, startState } from "../reference_step.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const REAL = Deno.env.get("DYLORA_SMOLLM2");
const LORA = { rank: 8, alpha: 16, scaling: fixed.scaling };

for (
  const folder of [fixture("tiny-llama"), fixture("tiny-qwen3"), REAL ?? ""]
) {
  Deno.test({
    name: `trainingStep() trains as PEFT does, ${
      basename(folder) || "SmolLM2"
    }`,
    ignore: PYTHON === undefined || folder === "",
    fn: () =>
      withFolder(async (output) => {
        const { code, stderr } = await new Deno.Command(PYTHON!, {
          args: [join(import.meta.dirname!, "peft_steps.py"), folder, output],
        }).output();
        assertEquals(code, 0, new TextDecoder().decode(stderr));
        const steps = JSON.parse(
          Deno.readTextFileSync(join(output, "steps.json")),
        ) as {
          readonly ids: number[][];
          readonly labels: number[];
          readonly batch: number;
          readonly rates: number[];
          readonly losses: number[];
        };
        const model = parseModel(
          Deno.readTextFileSync(join(folder, "config.json")),
        );
        using file = SafetensorsFile.open(join(folder, "model.safetensors"));
        const classifier = loadClassifier(file, model, 2, { rank: LORA.rank });
        const adapterAt = (name: string) => {
          using of = SafetensorsFile.open(join(output, `${name}.safetensors`));
          return fromTensors(
            (name) => of.floats(name),
            classifier.layout,
            "base_model.model.",
          );
        };
        const takeStep = trainingStep(classifier, {
          objective: fixed.objective({}, LORA),
          loss: "cross-entropy",
          dropout: false,
          optimizer,
        });
        const offsets = [0];
        for (const { length } of steps.ids) {
          offsets.push(offsets.at(-1)! + length);
        }
        const ids = Int32Array.from(steps.ids.flat());
        const examples = {
          ids,
          types: new Uint8Array(ids.length),
          offsets: Int32Array.from(offsets),
          index: Int32Array.from(steps.labels, (_, i) => i),
          labels: Float32Array.from(steps.labels),
        };
        const start = adapterAt("start");
        let state = startState(start);
        const losses: number[] = [];
        for (const [i, learningRate] of steps.rates.entries()) {
          const rows = Array.from(
            { length: steps.batch },
            (_, row) => i * steps.batch + row,
          );
          const batch = padBatch(examples, rows, model);
          const result = takeStep(state, [batch], {
            step: i,
            ranks: [LORA.rank],
            learningRate,
            seed: 0,
          });
          losses.push((await read(result.loss))[0]!);
          tf.dispose([...Object.values(state), result.loss]);
          state = result.state;
        }
        const end = await read(state.values);
        tf.dispose(Object.values(state));
        takeStep.dispose();
        assertClose(losses, steps.losses, 1e-5, "losses");
        // AdamW divides the smallest gradients by themselves.
        assertClose(end, adapterAt("end"), 1e-4, "adapter and head");
        assert(end.some((it, i) => Math.abs(it - start[i]!) > 1e-3));
      }),
  });
}
