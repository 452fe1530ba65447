import { join } from "node:path";
import { z } from "zod";
import type { LibraryBuild } from "./build.ts";

const NAME = "installed.json";

const Marker = z.strictObject({
  version: z.string(),
  /** Wheels that it was made from, by hash. */
  wheels: z.array(z.strictObject({ file: z.string(), sha256: z.string() })),
  files: z.array(
    z.strictObject({ path: z.string(), bytes: z.int(), sha256: z.string() }),
  ),
});

/** Record of an installation, inside its folder: what it was made from, and each file with its hash. */
export type Marker = z.output<typeof Marker>;

/** Writes the record; the installation is complete with it. */
export async function writeMarker(
  folder: string,
  marker: Marker,
): Promise<void> {
  using file = await Deno.open(join(folder, NAME), {
    write: true,
    createNew: true,
  });
  const text = new TextEncoder().encode(JSON.stringify(marker, null, 2) + "\n");
  for (let done = 0; done < text.length;) {
    done += await file.write(text.subarray(done));
  }
  await file.sync();
}

/** Reads the record of an installation; undefined if there is none that can be read. */
export function readMarker(folder: string): Marker | undefined {
  try {
    return Marker.parse(JSON.parse(Deno.readTextFileSync(join(folder, NAME))));
  } catch {
    return undefined; // Missing or damaged: not installed, and to be made anew.
  }
}

/** True if `folder` holds this build whole: same wheels, every file there with its size. */
export function isInstalled(folder: string, build: LibraryBuild): boolean {
  const marker = readMarker(folder);
  return marker !== undefined &&
    marker.wheels.length === build.wheels.length &&
    build.wheels.every(({ sha256 }, i) =>
      marker.wheels[i]?.sha256 === sha256
    ) &&
    marker.files.every(({ path, bytes }) =>
      sizeOf(join(folder, path)) === bytes
    );
}

function sizeOf(path: string): number | undefined {
  try {
    return Deno.statSync(path).size;
  } catch {
    return undefined; // Not there: the installation is not whole.
  }
}
