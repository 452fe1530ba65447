import type { Edge } from "./edges.ts";
import type { PlacedStage } from "./expand.ts";
import type { FaultList } from "./fault.ts";
import { Candidates, type Placed } from "./inputs.ts";

/** Most edges of a pipeline. */
const MOST_EDGES = 1_000_000;

/** Ids of the stages connected to each input of a stage. */
export type Connections = Readonly<Record<string, readonly string[]>>;

/** Connects expanded stages, and counts the edges of one file. */
export class Connector {
  readonly #candidates = new Map<string, Candidates<Placed>>();
  #edges = 0;

  constructor(
    stages: ReadonlyMap<string, readonly PlacedStage[]>,
    readonly faults: FaultList,
  ) {
    for (const [name, placed] of stages) {
      this.#candidates.set(name, new Candidates(placed));
    }
  }

  /**
   * The connections of a stage at its place. An input that names no stage there
   * is left out, as if it had not been given: a stage whose `start` is excluded
   * is the same as one that has none. Inputs whose stages have faults are left
   * out, too.
   */
  connect(stage: Placed, edges: readonly Edge[]): Connections {
    const connections: Record<string, readonly string[]> = {};
    for (const edge of edges) {
      const connected = this.#connect(stage, edge);
      if (connected?.length) connections[edge.input] = connected;
    }
    return connections;
  }

  #connect(
    stage: Placed,
    { input, declaration, references, span }: Edge,
  ): readonly string[] | undefined {
    const ids: string[] = [];
    for (const reference of references) {
      const candidates = this.#candidates.get(reference.stage);
      if (candidates === undefined) return undefined;
      const found = candidates.find(reference, stage.place);
      const excluded = candidates.stages.length === 0;
      if (
        found.length === 0 && !declaration.optional &&
        !(declaration.many && excluded)
      ) {
        this.faults.add(
          `No stage "${reference.stage}" matches "${stage.id}"`,
          span,
        );
      }
      if (found.length > 1 && !declaration.many) {
        const [first, second] = found;
        this.faults.add(
          `Input "${input}" takes one artifact, but "${stage.id}" matches "${
            first!.id
          }", "${second!.id}"${found.length > 2 ? " and more" : ""}`,
          span,
        );
      }
      this.#edges += found.length;
      if (this.#edges > MOST_EDGES) {
        this.faults.add(`The pipeline has more than ${MOST_EDGES} edges`, span);
        return undefined;
      }
      for (const { id } of found) ids.push(id);
    }
    const absent = references.every(({ stage }) =>
      this.#candidates.get(stage)?.stages.length === 0
    );
    if (absent && declaration.many && !declaration.optional) {
      this.faults.add(
        `Input "${input}" of "${stage.id}" has no artifact: every place of ${
          references.map(({ stage }) => `"${stage}"`).join(", ")
        } is excluded`,
        span,
      );
    }
    return [...new Set(ids)];
  }
}
