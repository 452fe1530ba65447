import type { Graph, GraphTensor } from "./graph.ts";
import type { TensorRecord } from "./tensor_table.ts";

/** A trace that is being made. */
export interface OpenTrace {
  readonly graph: Graph;
  readonly inputs: GraphTensor[];
  readonly captures: Map<number, GraphTensor>;
  /** Casts already in the graph, by id and element type. */
  readonly casts: Map<string, number>;
  /** The trace that calls this function. */
  readonly outer: OpenTrace | undefined;
}

/** The graph's tensor for an id; an eager tensor becomes an input of the function. */
export function symbolOf(
  trace: OpenTrace,
  id: number,
  record: TensorRecord,
): GraphTensor {
  if (record.symbol !== undefined) {
    if (record.symbol.graph === trace.graph) return record.symbol.tensor;
    throw new Error(
      `A traced function uses a tensor of shape [${record.shape}] of the trace around it: it must be one of its inputs`,
    );
  }
  let captured = trace.captures.get(id);
  if (captured === undefined) {
    captured = trace.graph.placeholder(record.dtype, record.shape);
    trace.captures.set(id, captured);
  }
  return captured;
}
