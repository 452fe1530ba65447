import { sizeOf } from "./slurm_job.ts";

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
    if (this.#closed || sizeOf(path) <= this.#offset) return;
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
