import { assertAlmostEquals, assertEquals } from "@std/assert";
import reference from "../../fixtures/references/text_metrics.json" with {
  type: "json",
};
import {
  TEXT_METRICS,
  textScorer,
  textStatistics,
} from "../../lib/problems/text_metrics.ts";

const NAMES = Object.keys(TEXT_METRICS);

for (const { name, texts, metrics } of reference) {
  Deno.test(`textScorer() equals sacrebleu, rouge-score and E2E's script to 1e-12: ${name}`, () => {
    const statistics = textStatistics(texts);
    for (const metric of NAMES) {
      const score = textScorer(metric, texts.length)()(statistics);
      const expected = metrics[metric as keyof typeof metrics];
      assertAlmostEquals(score, expected, 1e-12, metric);
    }
  });
}

Deno.test("textScorer() scores a draw of units as those units by themselves, but with the n-grams' information in all", () => {
  const [{ texts }] = reference as [typeof reference[number]];
  const statistics = textStatistics(texts);
  const draw = [3, 0, 3, 7, 7, 7];
  const drawn = draw.map((unit) => texts[unit]!);
  for (const metric of NAMES) {
    const ofDraw = textScorer(metric, texts.length)(draw)(statistics);
    const alone = textScorer(metric, draw.length)()(textStatistics(drawn));
    assertEquals(Math.abs(ofDraw - alone) < 1e-12, metric !== "nist", metric);
  }
});

Deno.test("textStatistics() has words between what str.split() of Python takes for white space", () => {
  const ofText = (text: string) =>
    textStatistics([{ text, references: ["the film is good"] }]);
  const spaced = ofText("the film is good");
  for (const space of "\t\x1c\x1d\x1e\x1f\x85\xa0\u3000") {
    assertEquals(ofText(`the${space}film${space}is${space}good`), spaced);
  }
});

Deno.test("textStatistics() drops line breaks at the end of a text before those behind a hyphen, as sacrebleu does", () => {
  const ofText = (text: string) =>
    textStatistics([{ text, references: ["the film is -"] }]);
  assertEquals(ofText("the film is -\n"), ofText("the film is -"));
});
