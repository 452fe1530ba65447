import { assertThrows } from "@std/assert";
import { checkClasses } from "../../lib/artifacts/classes.ts";

const trained = { task: "mine", labels: ["negative", "positive"] };

Deno.test("checkClasses() accepts the same classes in the same order, and unnamed classes", () => {
  checkClasses(trained, { task: "other", labels: ["negative", "positive"] });
  checkClasses(trained, { task: "mine", labels: ["LABEL_0", "LABEL_1"] });
  checkClasses({ task: "imported", labels: ["LABEL_0", "LABEL_1"] }, trained);
  checkClasses({ task: "a", labels: null }, { task: "b", labels: null });
});

Deno.test("checkClasses() rejects another order, another number of classes, and a regression", () => {
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
      () => checkClasses(trained, tokens),
      Error,
      'trained for "mine" with the classes negative, positive, but the tokens are for',
    );
    assertThrows(
      () => checkClasses(tokens, trained),
      Error,
      "connect tokens with the same classes in the same order",
    );
  }
});
