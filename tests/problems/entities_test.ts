import { assertEquals } from "@std/assert";
import reference from "../../fixtures/references/entities.json" with {
  type: "json",
};
import {
  entitiesOf,
  entityCounts,
  entityScore,
  forbiddenTags,
  type Scheme,
  schemeOf,
  tagsOf,
} from "../../lib/problems/entities.ts";

const tagsIn = (text: string) => text === "" ? [] : text.split(" ");

const sumOf = (counts: number[]) =>
  [0, 1, 2].map((i) =>
    counts.filter((_, j) => j % 3 === i).reduce((sum, it) => sum + it, 0)
  );

Deno.test("entityScore() gives seqeval's scores to random tags, in its default and its strict mode", () => {
  for (const { labels, predictions, ...expected } of reference) {
    const scheme = expected.scheme as Scheme;
    for (const isStrict of [false, true]) {
      const [ours, theirs] = [labels, predictions].map((sentences) =>
        sentences.map((it) => entitiesOf(tagsIn(it), scheme, isStrict))
      );
      assertEquals(
        Object.values(entityScore(sumOf(entityCounts(ours!, theirs!)))),
        isStrict ? expected.strictMicro : expected.micro,
      );
      const types = [...new Set([ours!, theirs!].flat(2).map((it) => it.type))];
      const ofType = (type: string, all: typeof ours) =>
        all!.map((own) => own.filter((it) => it.type === type));
      assertEquals(
        types.sort().map((type) => {
          const [own, others] = [ofType(type, ours), ofType(type, theirs)];
          const counts = sumOf(entityCounts(own, others));
          return [...Object.values(entityScore(counts)), counts[2]];
        }),
        isStrict ? expected.strictTypes : expected.types,
      );
    }
  }
});

Deno.test("schemeOf() tells BIO, IOB1, BIOES and plain tags apart", () => {
  const scheme = (...sentences: string[]) => schemeOf(sentences.map(tagsIn));
  assertEquals(scheme("O B-x I-x O", "B-y"), "BIO");
  assertEquals(scheme("B I O"), "BIO");
  assertEquals(scheme("O I-x I-x B-x", "I-y"), "IOB1");
  // One sentence starts with I-, as only IOB1 has it, but others with B-: a fault in BIO.
  assertEquals(scheme("I-x O", "B-x I-x"), "BIO");
  assertEquals(scheme("B-x E-x O S-y"), "BIOES");
  assertEquals(scheme("B-x L-x O U-y"), "BIOES");
  assertEquals(scheme("NOUN VERB", "O"), "plain");
  assertEquals(scheme("O PER PER O"), "plain");
});

Deno.test("forbiddenTags() names the tags that the scheme forbids after the one before, and an open end", () => {
  const forbidden = (text: string, scheme: Scheme) =>
    forbiddenTags(tagsIn(text), scheme);
  assertEquals(forbidden("B-x I-x O B-x B-x", "BIO"), []);
  assertEquals(forbidden("I-x O I-x B-x I-y", "BIO"), [0, 2, 4]);
  assertEquals(forbidden("B-x I-x E-x S-y O", "BIOES"), []);
  assertEquals(forbidden("B-x O E-x S-x I-x B-y", "BIOES"), [1, 2, 4, 5, 6]);
});

Deno.test("tagsOf() writes the entities that entitiesOf() reads, and repairs what the scheme forbids", () => {
  for (const { labels, scheme } of reference) {
    for (const text of labels) {
      const tags = tagsIn(text);
      const entities = entitiesOf(tags, scheme as Scheme);
      const repaired = tagsOf(entities, tags.length, scheme as Scheme);
      assertEquals(forbiddenTags(repaired, scheme as Scheme), []);
      assertEquals(entitiesOf(repaired, scheme as Scheme), entities);
    }
  }
  const iob1 = tagsIn("I-x I-x B-x O I-y");
  assertEquals(
    tagsOf(entitiesOf(iob1, "IOB1"), 5, "IOB1").join(" "),
    "B-x I-x B-x O B-y",
  );
  const plain = tagsIn("O PER PER LOC");
  assertEquals(entitiesOf(plain, "plain").length, 2);
  assertEquals(tagsOf(entitiesOf(plain, "plain"), 4, "plain"), plain);
});

Deno.test("entitiesOf() finds entities of BILOU as those of BIOES", () => {
  const tags = ["B-x", "I-x", "L-x", "U-y", "L-y"];
  const scheme = schemeOf([tags]);
  const found = [
    { type: "x", start: 0, end: 3 },
    { type: "y", start: 3, end: 4 },
    { type: "y", start: 4, end: 5 },
  ];
  assertEquals(entitiesOf(tags, scheme), found);
  assertEquals(entitiesOf(tags, scheme, true), found.slice(0, 2));
});
