/** How a report was made, which the command line adds to its page. */
export interface RunFacts {
  readonly pipeline: string;
  /**
   * Start of the command that exports an adapter, as the user would type it:
   * `deno task export smoke`.
   */
  readonly exporting: string;
  /** Options of the command line that determine the graph. */
  readonly options: readonly string[];
  /** HTML below the title of the page. */
  readonly header: string;
  /** HTML of the section on the run, whose id is `this-run`. */
  readonly section: string;
}

/** The placeholder for the facts in a page that a stage has written. */
export const NO_RUN = '<script type="application/json" id="run">null</script>';

/** JSON that can stand in a script. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

/** The page of a stage with the facts of a run. */
export function withFacts(page: string, facts: RunFacts): string {
  // A function, since "$" is special in a replacement text.
  return page.replace(
    NO_RUN,
    () => NO_RUN.replace("null", () => scriptJson(facts)),
  );
}

/** Inverse of {@linkcode withFacts}. */
export function withoutFacts(page: string): string {
  return page.replace(
    /<script type="application\/json" id="run">[^<]*<\/script>/,
    () => NO_RUN,
  );
}
