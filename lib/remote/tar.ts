/** A remote in one file: the tar that `deno task cache bundle` writes. */
import { statIfThere, writeAll } from "../store/files.ts";
import {
  type Content,
  type Entry,
  RemoteFault,
  type Stored,
  type Transport,
} from "./transport.ts";

/** Bytes of a block: headers and contents start at a multiple of it. */
const BLOCK = 512;

/** Positions of the fields of a header (POSIX ustar): start and length. */
const FIELDS = {
  name: [0, 100],
  mode: [100, 8],
  size: [124, 12],
  checksum: [148, 8],
  type: [156, 1],
  magic: [257, 8],
  prefix: [345, 155],
} as const;

function header(path: string, size: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (field: keyof typeof FIELDS, text: string) =>
    block.set(new TextEncoder().encode(text), FIELDS[field][0]);
  const octal = (value: number, digits: number) =>
    value.toString(8).padStart(digits, "0");
  const slash = path.lastIndexOf("/");
  put("prefix", path.slice(0, slash));
  put("name", path.slice(slash + 1));
  put("mode", "0000644\0");
  put("size", `${octal(size, 11)}\0`);
  put("type", "0");
  put("magic", "ustar\x0000");
  put("checksum", "        ");
  const sum = block.reduce((total, byte) => total + byte, 0);
  put("checksum", `${octal(sum, 6)}\0 `);
  return block;
}

/** Writes what is stored to an open file as a tar, one file after the other. */
export class TarWriter implements Transport {
  readonly name = "the bundle";
  readonly #paths = new Set<string>();
  readonly #to: Pick<Deno.FsFile, "writeSync">;
  #last: Promise<void> = Promise.resolve();

  constructor(to: Pick<Deno.FsFile, "writeSync">) {
    this.#to = to;
  }

  get(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  has(path: string): Promise<boolean> {
    return Promise.resolve(this.#paths.has(path));
  }

  put(path: string, content: Stored): Promise<void> {
    this.#paths.add(path);
    return this.#last = this.#last.then(() => this.#write(path, content));
  }

  async *list(): AsyncGenerator<Entry> {
    for (const path of this.#paths) yield await { path };
  }

  remove(): Promise<void> {
    return Promise.reject(new RemoteFault("removes nothing"));
  }

  /** Ends the tar. */
  end(): void {
    writeAll(this.#to, new Uint8Array(2 * BLOCK));
  }

  async #write(path: string, content: Stored): Promise<void> {
    const isBytes = content instanceof Uint8Array;
    const size = isBytes ? content.length : content.size;
    writeAll(this.#to, header(path, size));
    if (isBytes) writeAll(this.#to, content);
    else {
      const file = await Deno.open(content.file);
      for await (const piece of file.readable) writeAll(this.#to, piece);
    }
    writeAll(this.#to, new Uint8Array((BLOCK - size % BLOCK) % BLOCK));
  }
}

/** Where the content of a file is in a tar, in bytes. */
interface Place {
  readonly start: number;
  readonly size: number;
}

/** Reads the files in a tar. */
export class TarTransport implements Transport {
  readonly #file: () => Promise<string>;
  #opened: Promise<{ path: string; index: Map<string, Place> }> | undefined;

  /** @param file Finds the path of the tar; called once, when it is needed. */
  constructor(readonly name: string, file: () => Promise<string>) {
    this.#file = file;
  }

  async get<T>(path: string, take: (content: Content) => Promise<T>) {
    const { path: tar, index } = await this.#open();
    const place = index.get(path);
    return place && await take(contentAt(tar, place));
  }

  async has(path: string) {
    return (await this.#open()).index.has(path);
  }

  async *list(folder: string): AsyncGenerator<Entry> {
    for (const path of (await this.#open()).index.keys()) {
      if (path.startsWith(`${folder}/`)) yield { path };
    }
  }

  put(): Promise<void> {
    return Promise.reject(new RemoteFault("is a tar file, which is only read"));
  }

  remove(): Promise<void> {
    return this.put();
  }

  #open() {
    return this.#opened ??= this.#file().then((path) => ({
      path,
      index: indexOf(path),
    }));
  }
}

/** @throws {RemoteFault} If it is not a whole tar. */
function indexOf(path: string): Map<string, Place> {
  const size = statIfThere(path)?.size;
  if (size === undefined) throw new RemoteFault("does not exist");
  using file = Deno.openSync(path);
  const index = new Map<string, Place>();
  const block = new Uint8Array(BLOCK);
  const field = (name: keyof typeof FIELDS) => {
    const [start, length] = FIELDS[name];
    const text = new TextDecoder().decode(
      block.subarray(start, start + length),
    );
    return text.split("\0", 1)[0]!.trim();
  };
  for (let at = 0; at < size;) {
    file.seekSync(at, Deno.SeekMode.Start);
    if (file.readSync(block) !== BLOCK) break;
    if (block.every((byte) => byte === 0)) return index;
    if (!field("magic").startsWith("ustar")) break;
    const place = { start: at + BLOCK, size: parseInt(field("size"), 8) };
    index.set(
      [field("prefix"), field("name")].filter((it) => it).join("/"),
      place,
    );
    at = place.start + Math.ceil(place.size / BLOCK) * BLOCK;
  }
  throw new RemoteFault("is not a tar file, or truncated");
}

async function* contentAt(path: string, { start, size }: Place): Content {
  using file = await Deno.open(path);
  await file.seek(start, Deno.SeekMode.Start);
  for (let left = size; left > 0;) {
    const buffer = new Uint8Array(Math.min(left, 1 << 16));
    const read = await file.read(buffer);
    if (read === null) return;
    left -= read;
    yield buffer.subarray(0, read);
  }
}
