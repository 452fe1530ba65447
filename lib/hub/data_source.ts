/** A data set of the hub, or one of its splits. */
export interface DataSource {
  /** `OWNER/NAME` */
  readonly name: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /**
   * Configuration, such as a language; undefined for the only one, or the
   * default.
   */
  readonly config?: string;
  readonly split?: string;
}

/** Whether the name of a file stands for a data set of the hub. */
export function isDataSource(file: string): boolean {
  return file.startsWith("hub:");
}

/**
 * Parses `hub:OWNER/NAME[@REVISION][:CONFIG][/SPLIT]`, such as
 * `hub:stanfordnlp/sst2`, `hub:nyu-mll/glue:cola/validation` or
 * `hub:org/name@refs/convert/parquet:default/train`.
 *
 * @throws {RangeError} If the name has another form.
 */
export function parseDataSource(source: string): DataSource {
  const { name, revision = "main", ...rest } =
    /^hub:(?<name>[\w-][\w.-]*\/[\w-][\w.-]*)(?:@(?<revision>refs\/(?:convert\/\w+|pr\/\d+)|[\w-][\w.-]*))?(?::(?<config>[^<>:/\\|?*]+))?(?:\/(?<split>\w+(?:\.\w+)*))?$/
      .exec(source)?.groups ?? {};
  if (name !== undefined && !`${name}/${revision}`.includes("..")) {
    const parts = Object.entries(rest).filter(([, it]) => it !== undefined);
    return { name, revision, ...Object.fromEntries(parts) };
  }
  throw new RangeError(
    `"${source}" does not name a data set of the hub; use "hub:OWNER/NAME", "hub:OWNER/NAME/SPLIT", "hub:OWNER/NAME:CONFIG/SPLIT" or "hub:OWNER/NAME@REVISION:CONFIG/SPLIT"`,
  );
}
