/** A test that may be ignored on a machine that has everything that tests can have. */
export interface Ignorable {
  readonly file: string;
  /** A part of the names of its tests; all of the file by default. */
  readonly name?: string;
  readonly reason: string;
}

/** Which tests may be ignored by `deno task test --strict`, and why. */
export const WHY_IGNORED: readonly Ignorable[] = [];
