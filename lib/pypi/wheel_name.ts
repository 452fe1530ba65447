/** What the file name of a wheel says: `NAME-VERSION-PYTHON-ABI-PLATFORMS.whl`. */
export interface WheelName {
  readonly name: string;
  readonly version: string;
  /** `cp311`, `py3` */
  readonly python: string;
  /** `cp311`, `none` */
  readonly abi: string;
  /** `["manylinux2014_x86_64", "manylinux_2_17_x86_64"]` */
  readonly platforms: readonly string[];
}

/**
 * Takes a wheel's file name apart.
 *
 * @see https://packaging.python.org/en/latest/specifications/binary-distribution-format/
 * @throws {TypeError} If it is not the name of a wheel.
 */
export function parseWheelName(file: string): WheelName {
  const match =
    /^(?<name>[^-]+)-(?<version>[^-]+)(-\d[^-]*)?-(?<python>[^-]+)-(?<abi>[^-]+)-(?<platforms>[^-]+)\.whl$/
      .exec(file);
  if (match?.groups === undefined) {
    throw new TypeError(`"${file}" is not the name of a wheel`);
  }
  const { name, version, python, abi, platforms } = match.groups as Record<
    string,
    string
  >;
  return {
    name: name!.replaceAll("_", "-"),
    version: version!,
    python: python!,
    abi: abi!,
    platforms: platforms!.split("."),
  };
}
