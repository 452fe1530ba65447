import { selectStages } from "../../scheduler/context.ts";
import type { Command, Given } from "../arguments.ts";
import { EXIT } from "../exit.ts";
import { openGraph, selectedStages } from "../open_graph.ts";
import { GRAPH_OPTIONS, HELP, JSON_LINES, outOf } from "../options.ts";
import { dot } from "../picture/dot.ts";
import { mermaid } from "../picture/mermaid.ts";
import { type PictureNode, pictureNodes } from "../picture/nodes.ts";
import { rails } from "../picture/rails.ts";
import { writeOut } from "../render/choose.ts";

/** `deno task graph`: draws a pipeline. */
export const command: Command = {
  name: "graph",
  usage: "PIPELINE [STAGE...]",
  description:
    "Draw a pipeline: which stage needs which. With STAGEs, these and what they need. Stages of a matrix are one node, unless --expand is given.",
  options: [
    {
      name: "format",
      value: "NAME",
      choices: ["terminal", "mermaid", "dot"],
      description:
        "terminal, mermaid (which GitHub shows) or dot (for Graphviz) (default terminal)",
    },
    {
      name: "expand",
      description: "Draw each stage of a matrix",
    },
    ...GRAPH_OPTIONS,
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["glue-mini", "See the stages and what they need"],
    ["smoke --format mermaid", "Make a chart for a README"],
    ["smoke --format dot | dot -Tsvg > smoke.svg", "Make a picture"],
  ],
  takes: { least: 1, most: Infinity },
  run: printGraph,
};

async function printGraph(given: Given): Promise<number> {
  const { graph } = await openGraph(given, outOf(given));
  const targets = await selectedStages(graph, given.positionals.slice(1));
  const stages = selectStages(graph, targets);
  const nodes = pictureNodes(graph, stages, given.has("expand"));
  writeOut(picture(graph.pipeline, nodes, given));
  return EXIT.fine;
}

function picture(
  name: string,
  nodes: readonly PictureNode[],
  given: Given,
): string {
  if (given.has("json")) {
    return nodes.map((node) => `${JSON.stringify(node)}\n`).join("");
  }
  switch (given.value("format")) {
    case "mermaid":
      return mermaid(nodes);
    case "dot":
      return dot(name, nodes);
    default:
      return rails(nodes);
  }
}
