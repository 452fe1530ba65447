import { assertThrows } from "@std/assert";
import { checkSameLabels } from "../../lib/problems/registry.ts";

const trained = { task: "mine", labels: ["negative", "positive"] };

Deno.test("checkSameLabels() accepts the same classes in the same order, and unnamed classes", () => {
  checkSameLabels(trained, { task: "other", labels: ["negative", "positive"] });
  checkSameLabels(trained, { task: "mine", labels: ["LABEL_0", "LABEL_1"] });
  checkSameLabels(
    { task: "imported", labels: ["LABEL_0", "LABEL_1"] },
    trained,
  );
  checkSameLabels({ task: "a", labels: null }, { task: "b", labels: null });
});

Deno.test("checkSameLabels() rejects another order, another number of classes, and a regression", () => {
  for (
    const labels of [
      ["positive", "negative"],
      ["negative", "neutral", "positive"],
      ["LABEL_0", "LABEL_1", "LABEL_2"],
      null,
    ]
  ) {
    const tokens = { task: "mine", labels };
    assertThrows(
      () => checkSameLabels(trained, tokens),
      Error,
      'trained for "mine" with the classes negative, positive, but the tokens are for',
    );
    assertThrows(
      () => checkSameLabels(tokens, trained),
      Error,
      "connect tokens with the same classes in the same order",
    );
  }
});
