import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type GraphNode, rails } from "../../../lib/cli/commands/graph.ts";
import { CliProject, TASKS_PIPELINE } from "../project.ts";

Deno.test("graph draws a pipeline in the terminal, for Mermaid and for Graphviz", async () => {
  using project = new CliProject(TASKS_PIPELINE);
  assertEquals(
    (await project.call("graph")).stdout,
    "●  start\n●  middle ×2\n●  end\n",
  );
  assertEquals(
    (await project.call("graph", "--expand")).stdout,
    `●  start
├──╮
│  ●  middle@mrpc
●  │  middle@cola
├──╯
●  end
`,
  );
  assertEquals(
    (await project.call("graph", "--format", "mermaid", "middle")).stdout,
    `flowchart TD
  s0["start"]
  s1["middle ×2"]
  s0 --> s1
`,
  );
  assertEquals(
    (await project.call("graph", "--format", "dot", "--expand", "middle@cola"))
      .stdout,
    `digraph "test" {
  node [shape=box, style=rounded];
  "start" [label="start"];
  "middle@cola" [label="middle@cola"];
  "start" -> "middle@cola";
}
`,
  );
});

function nodes(
  edges: Readonly<Record<string, string[]>>,
): GraphNode[] {
  return Object.entries(edges)
    .map(([id, needs]) => ({ id, label: id, needs }));
}

Deno.test("rails() draws each node below what it needs", () => {
  assertEquals(
    rails(nodes({
      model: [],
      data: [],
      tokens: ["model", "data"],
      dylora: ["model", "tokens"],
      lora: ["model", "tokens"],
      scores: ["dylora"],
      report: ["scores", "lora"],
      other: [],
    })),
    `●  model
│  ●  data
├──╯
●  tokens
├──╮
│  ●  dylora
●  │  lora
│  ●  scores
├──╯
●  report
   ●  other
`,
  );
});

const UP = "│╰╯┴├┤┼";

/** Reads the edges back from a picture. */
function readRails(picture: string): Record<string, string[]> {
  const edges: Record<string, string[]> = {};
  const columns: (string | undefined)[] = [];
  let joined: string[] | undefined;
  for (const line of picture.split("\n").slice(0, -1)) {
    const node = line.indexOf("●");
    if (node < 0) {
      const last = Math.max(...[..."╯╮┤"].map((it) => line.lastIndexOf(it)));
      const first = line.search(/[╰╭├]/);
      joined = [];
      for (let at = first; at <= last; at += 3) {
        const crossed = line[at] === "│";
        if (UP.includes(line[at]!) && !crossed) joined.push(columns[at / 3]!);
      }
      for (let at = 0; at < line.length; at += 3) {
        if (!"│┤├┼╮╭┬".includes(line[at]!)) columns[at / 3] = undefined;
      }
      continue;
    }
    const id = line.slice(line.lastIndexOf("  ") + 2);
    const above = columns[node / 3];
    edges[id] = joined ?? (above === undefined ? [] : [above]);
    joined = undefined;
    for (let at = 0; at < line.length - id.length - 2; at += 3) {
      if (line[at] === " ") columns[at / 3] = undefined;
    }
    columns.length = Math.max(columns.length, node / 3 + 1);
    columns.fill(undefined, Math.ceil((line.length - id.length - 2) / 3));
    columns[node / 3] = id;
  }
  return edges;
}

/**
 * What each node needs, less what others of its needs need, by its definition.
 */
function reduced(all: readonly GraphNode[]): Record<string, string[]> {
  const needs = new Map(all.map((it) => [it.id, it.needs]));
  const reaches = (from: string, to: string): boolean =>
    needs.get(from)!.some((it) => it === to || reaches(it, to));
  return Object.fromEntries(
    all.map(({ id, needs }) => [
      id,
      needs.filter((it) => !needs.some((other) => reaches(other, it))).sort(),
    ]),
  );
}

Deno.test("rails() draws exactly the edges that others do not imply", () => {
  const graph = fc.array(fc.array(fc.nat(20), { maxLength: 4 }), {
    minLength: 1,
    maxLength: 9,
  }).map((lists) =>
    lists.map((list, index) => ({
      id: `n${index}`,
      label: `n${index}`,
      needs: [
        ...new Set(index === 0 ? [] : list.map((it) => `n${it % index}`)),
      ],
    }))
  );
  fc.assert(
    fc.property(graph, (graph) => {
      const read = Object.fromEntries(
        Object.entries(readRails(rails(graph)))
          .map(([id, needs]) => [id, needs.toSorted()]),
      );
      assertEquals(read, reduced(graph));
    }),
    { numRuns: 1000 },
  );
});
