/**
 * The pipeline that every tool runs: stage 0 reads a file, every other stage
 * reads the output of one before it, four to each. A stage writes what it read
 * and its own number.
 */
export function parentOf(stage: number): number | undefined {
  return stage === 0 ? undefined : Math.floor((stage - 1) / 4);
}

/** Numbers of all stages. */
export function stagesOf(count: number): number[] {
  return [...Array(count).keys()];
}
