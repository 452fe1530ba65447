import { homedir } from "node:os";
import type { GraphStage } from "../../pipeline/graph.ts";
import { canonicalJson } from "../../store/canonical.ts";
import { digest } from "../../store/digest.ts";
import { isFull, isReadOnly } from "../../store/os_error.ts";
import { quickChecksum } from "../../store/quick_checksum.ts";
import { readSealed, writeSealed } from "../../store/sealed.ts";
import type { Store } from "../../store/store.ts";
import { isCurrent, type TaskCode } from "../code/code.ts";
import { sourcesOf } from "./source.ts";

const VERSION = 1;

/** How many answers are kept. */
const MOST = 1_000;

/**
 * The files that stages name by their parameters, kept by the code of the task
 * and the parameters, so that a run that has nothing to do loads no task.
 */
export class SourcePaths {
  readonly #store: Store;
  readonly #project: string;
  readonly #known: Map<string, Record<string, string>>;
  #changed = false;

  constructor(store: Store, project: string) {
    this.#store = store;
    this.#project = project;
    this.#known = new Map(Object.entries(read(store)));
  }

  /** Absolute paths by the dot path of the parameter. */
  async of(stage: GraphStage, code: TaskCode): Promise<Map<string, string>> {
    if (!stage.declaration.sources) return new Map();
    const question = digest(canonicalJson([
      code.listing,
      stage.params,
      this.#project,
      homedir(),
    ]));
    const known = this.#known.get(question);
    if (known !== undefined) return new Map(Object.entries(known));
    const { loadTask } = await import("../../pipeline/load_task.ts");
    const task = await loadTask(stage.module);
    const paths = sourcesOf(task, stage.params, this.#project);
    // What was loaded may be newer than the code that it is to be kept by.
    if (await isCurrent(code, this.#store)) {
      this.#known.set(question, Object.fromEntries(paths));
      this.#changed = true;
    }
    return paths;
  }

  /** Keeps the answers, where the cache can be written. */
  save(): void {
    if (!this.#changed) return;
    try {
      this.#store.makeFolder();
      writeSealed(pathIn(this.#store), {
        version: VERSION,
        paths: Object.fromEntries([...this.#known].slice(-MOST)),
      }, quickChecksum);
    } catch (error) {
      if (!isReadOnly(error) && !isFull(error)) throw error;
    }
  }
}

function read(store: Store): Record<string, Record<string, string>> {
  const sealed = readSealed(pathIn(store), quickChecksum);
  return sealed.state === "whole" && sealed.value.version === VERSION
    ? sealed.value.paths as Record<string, Record<string, string>>
    : {};
}

function pathIn(store: Store): string {
  return store.path("sources.json");
}
