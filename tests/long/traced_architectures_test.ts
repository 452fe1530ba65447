import { WITHOUT_ADAPTERS } from "../../lib/engine/schedules/fixed.ts";
import "../engine/engine.ts";
import {
  assertSameBits,
  openReference,
  referenceNames,
} from "../engine/reference.ts";
import {
  optimizer,
  referenceAdapter,
  settings,
  takeStep,
} from "../engine/reference_step.ts";
import { dyloraObjective } from "../engine/tiny_task.ts";
import { fullClassifier } from "../engine/without_adapters.ts";

const { alpha, rank: maxRank } = settings;

for (const name of referenceNames) {
  Deno.test(
    `trainingStep() traced equals eager bit for bit, with dropout, ${name}`,
    async () => {
      // A trace of one layer costs half of that of two; these two have layers
      // of two kinds.
      const layers = /^(albert|modernbert)/.test(name) ? 2 : 1;
      const cut = openReference(name, {
        num_hidden_layers: layers,
        n_layers: layers,
      });
      const lora = referenceAdapter(cut);
      const all = fullClassifier(cut);
      for (
        const [{ classifier, values }, objective, rank] of [
          [lora, dyloraObjective({ alpha, rank: maxRank }), 3],
          [all, WITHOUT_ADAPTERS, 0],
        ] as const
      ) {
        const end = (eager: boolean) =>
          takeStep(
            cut,
            classifier,
            values,
            {
              objective,
              optimizer,
              loss: "cross-entropy",
              dropout: true,
              eager,
            },
            rank,
          );
        assertSameBits(await end(false), await end(true));
      }
    },
  );
}
