import { join } from "node:path";
import type { TestProject } from "../scheduler/project.ts";
import type { Random } from "./random.ts";

/** Folders below `out` in which a user may put files. */
const PLACES = [
  "test",
  "test/s0",
  "test/s1/deep",
  "test/gone",
  "other/s0",
  "cache",
  "cache/blobs/ab",
  "cache/runs/mine",
  "cache/locks",
];

/**
 * Damages outputs and cache of a project at random, and leaves files of a user.
 */
export class Vandal {
  readonly #project: TestProject;
  readonly #random: Random;
  /** Contents of the files of the user. */
  #mine = new Set<string>();
  #written = 0;

  constructor(project: TestProject, random: Random) {
    this.#project = project;
    this.#random = random;
  }

  /** Damages one thing; returns a description. */
  strike(): string {
    const strike = this.#random.pick([
      () => this.#output(),
      () => this.#output(),
      () => this.#file("out/cache/blobs"),
      () => this.#file("out/cache/blobs"),
      () => this.#file("out/cache/manifests"),
      () => this.#file("out/cache/stages"),
      () => this.#own(),
      () => this.#strew(),
      () => this.#strew(),
    ]);
    return strike();
  }

  /**
   * Forgets files of the user that strikes have destroyed. Called before a run.
   */
  look(): void {
    this.#mine = this.#mine.intersection(this.#texts());
  }

  /** Contents of files of the user that a run has destroyed since `look()`. */
  lost(): string[] {
    return [...this.#mine.difference(this.#texts())];
  }

  /** Writes a file of the user somewhere below `out`. */
  #strew(): string {
    const folder = this.#project.path("out", this.#random.pick(PLACES));
    const path = join(folder, `note${this.#random.below(3)}.txt`);
    try {
      Deno.mkdirSync(folder, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotADirectory)) throw error;
      return "a file in the way of a folder";
    }
    Deno.writeTextFileSync(path, this.#newText());
    return `strewed ${path}`;
  }

  #newText(): string {
    const text = `text ${++this.#written} of the user`;
    this.#mine.add(text);
    return text;
  }

  /** Contents of all files below `out`. */
  #texts(): Set<string> {
    return new Set(
      this.#filesBelow("out").map((path) => Deno.readTextFileSync(path)),
    );
  }

  /** Deletes, edits or adds to the visible output of a stage. */
  #output(): string {
    const path = this.#pickBelow("out/test", /\/s\d+\/(out|more-\d+)\.txt$/);
    if (path === undefined) return "no output yet";
    const how = this.#random.pick(["delete", "edit", "add", "folder"] as const);
    if (how === "delete") Deno.removeSync(path);
    if (how === "edit") Deno.writeTextFileSync(path, this.#newText());
    if (how === "add") Deno.writeTextFileSync(`${path}.more`, this.#newText());
    if (how === "folder") {
      Deno.removeSync(join(path, ".."), { recursive: true });
    }
    return `${how} ${path}`;
  }

  /** Deletes, truncates or changes a file of the cache. */
  #file(folder: string): string {
    const path = this.#pickBelow(folder);
    if (path === undefined) return `nothing in ${folder} yet`;
    const how = this.#random.pick(["delete", "truncate", "flip"] as const);
    if (how === "delete") Deno.removeSync(path);
    else {
      Deno.chmodSync(path, 0o644);
      const bytes = Deno.readFileSync(path);
      const at = this.#random.below(Math.max(1, bytes.length));
      if (how === "truncate") Deno.truncateSync(path, at);
      else if (bytes.length > 0) {
        bytes[at] = bytes[at]! ^ (1 << this.#random.below(8));
        Deno.writeFileSync(path, bytes);
      }
    }
    return `${how} ${path}`;
  }

  /** Damages a memo of the cache, or removes a part of it. */
  #own(): string {
    const name = this.#random.pick([
      "memo.json",
      "graphs",
      "locks",
      "manifests",
      "used",
    ]);
    const path = this.#project.path("out/cache", name);
    try {
      if (name.endsWith(".json") && this.#random.chance(0.5)) {
        Deno.truncateSync(path, this.#random.below(500));
      } else Deno.removeSync(path, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return `harmed ${name}`;
  }

  #pickBelow(folder: string, names = /(?:)/): string | undefined {
    const files = this.#filesBelow(folder).filter((path) => names.test(path));
    return files.length === 0 ? undefined : this.#random.pick(files.sort());
  }

  #filesBelow(folder: string): string[] {
    const files: string[] = [];
    const walk = (path: string) => {
      for (const { name, isDirectory } of Deno.readDirSync(path)) {
        if (isDirectory) walk(join(path, name));
        else files.push(join(path, name));
      }
    };
    try {
      walk(this.#project.path(folder));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return files;
  }
}
