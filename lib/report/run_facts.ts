/** How a report was made, for the script of its page (`page_script.ts`). */
export interface RunFacts {
  readonly pipeline: string;
  /** How the command line names the pipeline: its name, or a file. */
  readonly source: string;
  /** The command line, for a shell. */
  readonly command: string;
  /** Options of the command line that determine the graph. */
  readonly options: readonly string[];
  /** ISO 8601. */
  readonly date: string;
  /** Of the project; undefined outside of a repository. */
  readonly commit: string | undefined;
  /** By name. */
  readonly versions: Readonly<Record<string, string>>;
  /** Properties of the machine by name. */
  readonly machine: Readonly<Record<string, string>>;
  /** The stages by name, in topological order. */
  readonly groups: readonly {
    readonly name: string;
    /** Number of stages. */
    readonly count: number;
    readonly seconds: number;
    /** Names of the groups that it needs, without those that others imply. */
    readonly needs: readonly string[];
    /** Number of groups on the longest path to it. */
    readonly depth: number;
  }[];
  readonly stages: readonly {
    readonly id: string;
    /** Seconds of the run that made its result. */
    readonly seconds: number;
    /** When that run started, ISO 8601. */
    readonly started: string;
    /** What this run did: `ran`, `restored`, `unchanged`. */
    readonly outcome: string;
  }[];
}

/** Place of the facts in a page that a stage has written. */
export const NO_RUN = '<script type="application/json" id="run">null</script>';

/** The page of a stage with the facts of a run. */
export function withFacts(page: string, facts: RunFacts): string {
  const json = JSON.stringify(facts).replaceAll("<", "\\u003c");
  // A function, since "$" is special in a replacement text.
  return page.replace(NO_RUN, () => NO_RUN.replace("null", () => json));
}

/** Inverse of {@linkcode withFacts}. */
export function withoutFacts(page: string): string {
  return page.replace(
    /<script type="application\/json" id="run">[^<]*<\/script>/,
    () => NO_RUN,
  );
}
