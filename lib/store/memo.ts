import { isFull, isReadOnly, readSealed, writeSealed } from "../files/files.ts";
import { lockFile } from "../files/locks.ts";
import { dirname } from "../files/paths.ts";

/** Version of the file. */
const VERSION = 1;

type Entries = Record<string, unknown>;

/**
 * `memo.json`: facts cached between runs, in sections: digests of files, code of
 * tasks, sources and keys of stages. It can be deleted at any time.
 */
export class Memo {
  readonly #path: string;
  readonly #known: Map<string, Map<string, unknown>>;
  /** Entries of this process that are not saved yet. */
  readonly #fresh = new Map<string, Map<string, unknown>>();

  constructor(path: string) {
    this.#path = path;
    this.#known = read(path);
  }

  get<T>(section: string, name: string): T | undefined {
    return this.#known.get(section)?.get(name) as T | undefined;
  }

  /** @param value A value of JSON. */
  set(section: string, name: string, value: unknown): void {
    for (const entries of [this.#known, this.#fresh]) {
      const found = entries.get(section);
      if (found === undefined) entries.set(section, new Map([[name, value]]));
      else found.set(name, value);
    }
  }

  /** Writes new entries, merged with those of other processes, if the cache is writable and the disk has space. */
  async save(): Promise<void> {
    if (this.#fresh.size === 0) return;
    try {
      Deno.mkdirSync(dirname(this.#path), { recursive: true });
      await this.#edit((sections) => {
        for (const [section, fresh] of this.#fresh) {
          const entries = sections.get(section) ?? new Map();
          for (const [name, value] of fresh) entries.set(name, value);
          sections.set(section, entries);
        }
      });
      this.#fresh.clear();
    } catch (error) {
      if (!isReadOnly(error) && !isFull(error)) throw error;
    }
  }

  /** Keeps the entries of one section that pass a test, and drops all other sections. */
  async prune(section: string, keep: (name: string) => boolean): Promise<void> {
    await this.#edit((sections) => {
      const entries = [...sections.get(section) ?? []]
        .filter(([name]) => keep(name));
      sections.clear();
      sections.set(section, new Map(entries));
    });
  }

  async #edit(
    change: (sections: Map<string, Map<string, unknown>>) => void,
  ): Promise<void> {
    using _lock = await lockFile(`${this.#path}.lock`);
    const sections = read(this.#path);
    change(sections);
    writeSealed(this.#path, {
      version: VERSION,
      sections: Object.fromEntries(
        [...sections].map((
          [section, entries],
        ) => [section, Object.fromEntries(entries)]),
      ),
    });
  }
}

function read(path: string): Map<string, Map<string, unknown>> {
  const file = readSealed(path);
  if (file?.version !== VERSION) return new Map();
  return new Map(
    Object.entries(file.sections as Record<string, Entries>)
      .map(([section, entries]) => [section, new Map(Object.entries(entries))]),
  );
}
