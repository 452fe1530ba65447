import { assertThrows } from "@std/assert";
import { checkSameLabels } from "../../lib/problems/registry.ts";

const CLASSES = { problem: "classification" };
const SCORE = { problem: "regression", labels: null };

const trained = { ...CLASSES, task: "mine", labels: ["negative", "positive"] };

Deno.test("checkSameLabels() accepts the same classes in the same order, and unnamed classes", () => {
  checkSameLabels(trained, {
    ...CLASSES,
    task: "other",
    labels: ["negative", "positive"],
  });
  checkSameLabels(trained, {
    ...CLASSES,
    task: "mine",
    labels: ["LABEL_0", "LABEL_1"],
  });
  checkSameLabels(
    { ...CLASSES, task: "imported", labels: ["LABEL_0", "LABEL_1"] },
    trained,
  );
  checkSameLabels({ ...SCORE, task: "a" }, { ...SCORE, task: "b" });
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
    const tokens = labels === null
      ? { ...SCORE, task: "mine" }
      : { ...CLASSES, task: "mine", labels };
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

Deno.test("checkSameLabels() tells conversations from completions, unless nothing is known of an imported adapter", () => {
  const language = { task: "mine", problem: "language", labels: null };
  const chat = { ...language, task: "talk", isChat: true } as const;
  for (const imported of [false, true]) {
    checkSameLabels({ ...language, imported }, language);
    checkSameLabels({ ...chat, imported }, chat);
    assertThrows(
      () => checkSameLabels({ ...chat, imported }, language, "data"),
      Error,
      'trained for answers in the conversations of "talk", but the data are for texts of "mine": connect data that fetch-data reads by "messages"',
    );
  }
  assertThrows(
    () => checkSameLabels({ ...language, imported: false }, chat),
    Error,
    'trained for texts of "mine", but the tokens are for answers in the conversations of "talk": connect tokens that fetch-data reads by "completion"',
  );
  checkSameLabels({ ...language, imported: true }, chat);
});

Deno.test("checkSameLabels() takes pairs with scores for an adapter of texts that belong together, since an embedding is one for both", () => {
  const searched = { task: "mine", problem: "retrieval", labels: null };
  const scored = { task: "pairs", problem: "similarity", labels: null };
  checkSameLabels(searched, scored);
  checkSameLabels(scored, searched);
  assertThrows(
    () => checkSameLabels(searched, { ...SCORE, task: "numbers" }),
    Error,
    'trained for texts that belong together, "mine", but the tokens are for the regression "numbers": connect tokens that fetch-data reads by "positive"',
  );
});
