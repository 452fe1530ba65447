/** A remote in one file: the tar that `deno task cache bundle` writes. */
import { createTarDecoder, createTarPacker } from "modern-tar";
import { listFiles } from "../store/blobs.ts";
import { removeFolder } from "../files/files.ts";
import { dirname, join } from "../files/paths.ts";
import {
  type Chunks,
  FolderTransport,
  RemoteFault,
  type Transport,
} from "./transport.ts";

/**
 * Writes the files in a folder as a tar. The same files give the same bytes.
 */
export async function pack(
  folder: string,
  to: WritableStream<Uint8Array>,
): Promise<void> {
  const { readable, controller } = createTarPacker();
  const written = readable.pipeTo(to, { preventClose: true });
  const add = async () => {
    for (const name of listFiles(folder, "refuse")) {
      const file = await Deno.open(join(folder, name));
      const { size } = await file.stat();
      const header = { name, size, mtime: new Date(0) };
      await file.readable.pipeTo(controller.add(header));
    }
    controller.finalize();
  };
  await Promise.all([written, add()]);
}

/** Paths of the files in a remote. */
const PATH = /^(blobs|manifests)(\/[\w-][\w.-]*)+$/;

async function unpack(tar: Chunks, folder: string): Promise<true> {
  const entries = ReadableStream.from(tar)
    .pipeThrough(createTarDecoder({ strict: true }));
  for await (const { header: { name, type }, body } of entries) {
    if (type !== "file" || !PATH.test(name)) await body.cancel();
    else {
      Deno.mkdirSync(join(folder, dirname(name)), { recursive: true });
      await Deno.writeFile(join(folder, name), body);
    }
  }
  return true;
}

/**
 * The files in a tar, which is unpacked when one is needed, for as long as this
 * process lasts.
 */
export class TarTransport extends FolderTransport {
  /** @param file Path of the tar in another remote. */
  constructor(from: Transport, file: string) {
    super(from.name, false, async () => {
      const folder = Deno.makeTempDirSync({ prefix: "dylora-" });
      addEventListener("unload", () => removeFolder(folder));
      try {
        if (await from.get(file, (tar) => unpack(tar, folder))) return folder;
      } catch (error) {
        if (error instanceof RemoteFault) throw error;
        throw new RemoteFault(
          `cannot be unpacked: ${(error as Error).message}`,
        );
      }
      throw new RemoteFault("does not exist");
    });
  }

  override put(): Promise<void> {
    return Promise.reject(new RemoteFault("is a tar file, which is only read"));
  }

  override remove(): Promise<void> {
    return this.put();
  }
}
