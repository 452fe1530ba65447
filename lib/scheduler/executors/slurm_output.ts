/** What a job has written, as far as it is visible on this host. */
import { join } from "node:path";
import { entriesOf } from "../../store/files.ts";
import { fileSize, fingerprint } from "../../store/stats.ts";
import type { Job } from "./executor.ts";
import type { End } from "./slurm_job.ts";

/** True if everything is visible that the process wrote. */
export function hasArrived(folder: string, round: number, end: End): boolean {
  const sizes = outputSizes(join(folder, `output-${round}`));
  return sizes.length === end.files &&
    sizes.reduce((sum, size) => sum + size, 0) === end.bytes &&
    fileSize(join(folder, `stdout-${round}`)) >= end.stdout &&
    fileSize(join(folder, `stderr-${round}`)) >= end.stderr;
}

/** True if a round has left a checkpoint. */
export function hasCheckpoint(
  { folder, checkpoint }: Pick<Job, "folder" | "checkpoint">,
  round: number,
): boolean {
  const began = fingerprint(join(folder, `began-${round}`));
  return began !== undefined && newest(checkpoint) > began.modified;
}

/** Time of the last write in a folder, in milliseconds since 1970. */
function newest(folder: string): number {
  return Math.max(
    0,
    ...[...Deno.readDirSync(folder)].map(({ name, isDirectory }) =>
      isDirectory
        ? newest(join(folder, name))
        : fingerprint(join(folder, name))?.modified ?? 0
    ),
  );
}

function outputSizes(folder: string): number[] {
  // Reading a folder makes a network file system ask for its present state.
  return entriesOf(folder).flatMap(({ name, isDirectory, isFile }) =>
    isDirectory
      ? outputSizes(join(folder, name))
      : isFile
      ? [fileSize(join(folder, name))]
      : []
  );
}

/** A stream of the bytes that are appended to a file, with further lines between its lines. */
export class Tail {
  readonly stream: ReadableStream<Uint8Array>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #offset = 0;
  #closed = false;
  /** Lines to add when the file is at the end of a line. */
  #added: string[] = [];
  #midLine = false;

  constructor() {
    this.stream = new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
      },
      cancel: () => {
        this.#closed = true;
      },
    });
  }

  /** Reads what was appended to the file since the last call. */
  read(path: string): void {
    if (this.#closed || fileSize(path) <= this.#offset) return;
    using file = Deno.openSync(path);
    file.seekSync(this.#offset, Deno.SeekMode.Start);
    for (;;) {
      const buffer = new Uint8Array(1 << 16);
      const count = file.readSync(buffer);
      if (count === null) break;
      this.#offset += count;
      this.#midLine = buffer[count - 1] !== NEWLINE;
      this.#controller.enqueue(buffer.subarray(0, count));
    }
    if (!this.#midLine) this.#flush();
  }

  /** Adds a line after the current line of the file. */
  add(line: string): void {
    if (this.#closed) return;
    this.#added.push(line);
    if (!this.#midLine) this.#flush();
  }

  #flush(): void {
    for (const line of this.#added) {
      this.#controller.enqueue(new TextEncoder().encode(line));
    }
    this.#added = [];
  }

  /** Goes on with another file, which is read from its start. */
  rewind(): void {
    if (this.#midLine && !this.#closed) {
      this.#controller.enqueue(new Uint8Array([NEWLINE]));
    }
    this.#midLine = false;
    this.#offset = 0;
    this.#flush();
  }

  close(): void {
    if (this.#closed) return;
    this.rewind();
    this.#closed = true;
    this.#controller.close();
  }
}

const NEWLINE = 10;
