/** Texts with groups, by their embeddings. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import reference from "../../fixtures/references/similarity.json" with {
  type: "json",
};
import { nearestAt } from "../../lib/problems/groups.ts";
import type { SequenceEmbeddings } from "../../lib/problems/problem.ts";
import { problemOf } from "../../lib/problems/registry.ts";

const groups = problemOf({ problem: "groups", labels: null });

/**
 * Examples of texts at some angles, each with the next of its group as the
 * other text.
 */
function examplesOf(
  texts: readonly {
    readonly embedding: readonly number[];
    readonly group: number;
  }[],
) {
  const others = texts.map(({ group }, i) => {
    const next = texts.findIndex((it, j) => j > i && it.group === group);
    return next < 0 ? texts.findIndex((it) => it.group === group) : next;
  });
  const embeddings: SequenceEmbeddings = {
    values: Float32Array.from(texts.flatMap(({ embedding }) => embedding)),
    numbers: Int32Array.from(texts.flatMap((_, i) => [i, others[i]!])),
  };
  // Numbers of texts, then those of groups.
  const targets = texts.flatMap(({ group }, i) => [i, texts.length + group]);
  return { embeddings, targets, others };
}

function atAngle(angle: number, group: number) {
  return { embedding: [Math.cos(angle), Math.sin(angle)], group };
}

Deno.test("the position of a text's group is that of its nearest text among all others, as scikit-learn finds them", () => {
  const { embeddings, groups: groupOf, positions } = reference.grouped;
  const texts = embeddings.map((embedding, i) => (
    { embedding, group: groupOf[i]! }
  ));
  const { embeddings: given, targets } = examplesOf(texts);
  const predictions = groups.fromEmbeddings!(given, targets);
  assertEquals(
    texts.map((_, i) => nearestAt(predictions, i).position),
    positions,
  );
  assertEquals(groups.units(targets), texts.length);
  const score = (metric: string) =>
    groups.scorer(metric, targets)()(predictions);
  const mean = (scoreOf: (position: number) => number) =>
    positions.reduce((sum, it) => sum + scoreOf(it), 0) / positions.length;
  assertAlmostEquals(
    score("accuracy@1"),
    mean((it) => Number(it === 1)),
    1e-12,
  );
  assertAlmostEquals(
    score("accuracy@10"),
    mean((it) => Number(it <= 10)),
    1e-12,
  );
  assertAlmostEquals(
    score("mrr@10"),
    mean((it) => it <= 10 ? 1 / it : 0),
    1e-12,
  );
  assert(score("accuracy@1") > 0.3 && score("accuracy@1") < 0.9);
});

Deno.test("a text is told with the nearest one of its group and of another", () => {
  const texts = [
    atAngle(0, 0),
    atAngle(0.2, 1),
    atAngle(0.3, 0),
    atAngle(1, 1),
  ];
  const { embeddings, targets, others } = examplesOf(texts);
  const predictions = groups.fromEmbeddings!(embeddings, targets);
  const textOf = (example: number) => others[example]!;
  assertEquals(
    texts.map((_, i) => {
      const { position, answer, wrong } = nearestAt(predictions, i);
      return [position, textOf(answer), textOf(wrong)];
    }),
    [[2, 2, 1], [3, 3, 2], [2, 0, 1], [2, 1, 2]],
  );
});

Deno.test("a text whose group has no other tokens is behind all others", () => {
  const texts = [atAngle(0, 0), atAngle(1, 1), atAngle(2, 1)];
  const { embeddings, targets } = examplesOf(texts);
  const predictions = groups.fromEmbeddings!(embeddings, targets);
  const { position, answer, wrong } = nearestAt(predictions, 0);
  assertEquals([position, answer], [3, 0]);
  // The example whose other text is the nearest one.
  assertEquals(wrong, 2);
});
