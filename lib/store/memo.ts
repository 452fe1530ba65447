import { isFull, isReadOnly, readSealed, writeSealed } from "../files/files.ts";
import { lockFile } from "../files/locks.ts";
import { dirname } from "../files/paths.ts";

/** Version of the file. */
const VERSION = 1;

/** Values of JSON, by section and name. */
type Sections = Record<string, Record<string, unknown>>;

/**
 * `memo.json`: facts cached between runs, in sections: digests of files, code
 * of tasks, sources and keys of stages. It can be deleted at any time.
 */
export class Memo {
  readonly #path: string;
  readonly #sections: Sections;
  #isSaved = true;

  constructor(path: string) {
    this.#path = path;
    this.#sections = read(path);
  }

  get<T>(section: string, name: string): T | undefined {
    return this.#sections[section]?.[name] as T | undefined;
  }

  /** @param value A value of JSON. */
  set(section: string, name: string, value: unknown): void {
    this.#sections[section] ??= {};
    this.#sections[section][name] = value;
    this.#isSaved = false;
  }

  /**
   * Writes new entries, merged with those of other processes, if the cache is
   * writable and the disk has space.
   */
  async save(): Promise<void> {
    if (this.#isSaved) return;
    try {
      Deno.mkdirSync(dirname(this.#path), { recursive: true });
      await this.#edit((saved) => {
        for (const [name, entries] of Object.entries(this.#sections)) {
          saved[name] = { ...saved[name], ...entries };
        }
        return saved;
      });
      this.#isSaved = true;
    } catch (error) {
      if (!isReadOnly(error) && !isFull(error)) throw error;
    }
  }

  /**
   * Keeps the entries of one section that pass a test, and drops all other
   * sections.
   */
  async prune(section: string, keep: (name: string) => boolean): Promise<void> {
    await this.#edit((saved) => {
      const entries = Object.entries(saved[section] ?? {});
      const kept = entries.filter(([name]) => keep(name));
      return { [section]: Object.fromEntries(kept) };
    });
  }

  async #edit(change: (saved: Sections) => Sections): Promise<void> {
    using _lock = await lockFile(`${this.#path}.lock`);
    const sections = change(read(this.#path));
    writeSealed(this.#path, { version: VERSION, sections });
  }
}

function read(path: string): Sections {
  const file = readSealed<{ version: number; sections: Sections }>(path);
  return file?.version === VERSION ? file.sections : {};
}
