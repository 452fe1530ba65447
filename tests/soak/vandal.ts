import { join } from "node:path";
import type { TestProject } from "../scheduler/project.ts";
import type { Random } from "./random.ts";

/** Damages outputs and cache of a project at random. */
export class Vandal {
  readonly #project: TestProject;
  readonly #random: Random;

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
    ]);
    return strike();
  }

  /** Deletes, edits or adds to the visible output of a stage. */
  #output(): string {
    const path = this.#pickBelow("out/test");
    if (path === undefined) return "no output yet";
    const how = this.#random.pick(["delete", "edit", "add", "folder"] as const);
    if (how === "delete") Deno.removeSync(path);
    if (how === "edit") Deno.writeTextFileSync(path, "edited by hand");
    if (how === "add") Deno.writeTextFileSync(`${path}.more`, "mine");
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
      "stats.json",
      "code.json",
      "sources.json",
      "graphs",
      "locks",
      "entries",
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

  #pickBelow(folder: string): string | undefined {
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
    return files.length === 0 ? undefined : this.#random.pick(files.sort());
  }
}
