import { fileURLToPath } from "node:url";
import { type StageOptions, TestProject } from "../scheduler/project.ts";
import { SoakRun } from "./processes.ts";
import type { Random } from "./random.ts";

/** Numbers of helper modules, source files and tasks. */
const HELPERS = 4;
const SOURCES = 3;
const TASKS = 5;

/**
 * A random pipeline and its code. Its tasks read helper modules, imported
 * statically or dynamically, source files, parameters and outputs of each
 * other.
 */
export class SoakPipeline implements Disposable {
  readonly project = new TestProject();
  readonly stages: Record<string, StageOptions> = {};
  /** Environment variables of the runs, besides those of this process. */
  readonly env: Record<string, string> = {};
  readonly #random: Random;
  #written = "";
  /** Constant in each helper, and the text around it. */
  readonly #constants: number[] = [];
  readonly #comments: string[] = [];

  constructor(random: Random) {
    this.#random = random;
    for (let i = 0; i < HELPERS; i++) {
      this.#constants.push(i);
      this.#comments.push("");
      this.#writeHelper(i);
    }
    for (let i = 0; i < SOURCES; i++) {
      this.project.write(`data/${i}.txt`, `source ${i}`);
    }
    for (let i = 0; i < TASKS; i++) this.#writeTask(i);
    const count = 6 + random.below(5);
    for (let i = 0; i < count; i++) this.#addStage(i);
  }

  get ids(): string[] {
    return Object.keys(this.stages);
  }

  /** Changes what a helper does, possibly back to what it did before. */
  changeHelper(): string {
    const i = this.#random.below(HELPERS);
    this.#constants[i] = this.#random.below(3);
    this.#writeHelper(i);
    return `helper ${i} = ${this.#constants[i]}`;
  }

  /** Changes the text of a helper, but not what it does. */
  rewriteHelper(): string {
    const i = this.#random.below(HELPERS);
    this.#comments[i] = this.#random.pick([
      "",
      "// a comment\n",
      "/* another */\n\n",
      "interface Unused { a: number }\n",
    ]);
    this.#writeHelper(i);
    return `comment in helper ${i}`;
  }

  changeParam(): string {
    const id = this.#random.pick(this.ids);
    const x = this.#random.below(3);
    this.stages[id] = {
      ...this.stages[id]!,
      params: { ...this.stages[id]!.params, x },
    };
    return `param of ${id} = ${x}`;
  }

  /**
   * Changes a source file, whose size stays the same, in one of the ways that
   * hide a change.
   */
  changeSource(): string {
    const i = this.#random.below(SOURCES);
    const path = this.project.path("data", `${i}.txt`);
    const { atime, mtime } = Deno.statSync(path);
    const text = `source ${this.#random.below(5)}`;
    const how = this.#random.pick(
      ["write", "keep time", "rename", "link"] as const,
    );
    if (how === "rename" || how === "link") {
      const other = this.project.path("data", `${i}.other`);
      Deno.writeTextFileSync(other, text);
      if (how === "rename") Deno.renameSync(other, path);
      else {
        Deno.removeSync(path);
        Deno.linkSync(other, path);
        Deno.removeSync(other);
      }
    } else Deno.writeTextFileSync(path, text);
    if (how !== "write") {
      Deno.utimeSync(path, atime!, mtime!);
    }
    return `source ${i} = ${text} (${how})`;
  }

  get sourcePaths(): readonly string[] {
    return Array.from(
      { length: SOURCES },
      (_, i) => this.project.path("data", `${i}.txt`),
    );
  }

  touch(): string {
    const path = this.#random.pick([
      `data/${this.#random.below(SOURCES)}.txt`,
      `lib/h${this.#random.below(HELPERS)}.ts`,
      `tasks/t${this.#random.below(TASKS)}.ts`,
      ...(this.#written === "" ? [] : ["soak.yaml"]),
    ]);
    const now = new Date();
    Deno.utimeSync(this.project.path(path), now, now);
    return `touched ${path}`;
  }

  /** Connects a stage to other earlier stages. */
  rewire(): string {
    const ids = this.ids;
    const i = 1 + this.#random.below(ids.length - 1);
    this.stages[ids[i]!] = {
      ...this.stages[ids[i]!]!,
      inputs: { from: this.#inputs(i) },
    };
    return `inputs of ${ids[i]} = ${this.stages[ids[i]!]!.inputs!.from}`;
  }

  /** Writes the pipeline file and runs it by the command line. */
  spawn(out: string): SoakRun {
    const stages = Object.entries(this.stages).map((
      [id, { task, params, inputs }],
    ) => {
      const from = inputs?.from?.length ? { inputs } : {};
      return `  ${id}: ${JSON.stringify({ task, with: params, ...from })}\n`;
    });
    const text = `name: test\nstages:\n${stages.join("")}`;
    if (text !== this.#written) this.project.write("soak.yaml", text);
    this.#written = text;
    return new SoakRun(
      new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-A",
          "--unstable-lazy-dynamic-imports",
          fileURLToPath(import.meta.resolve("../../lib/cli/main.ts")),
          "pipeline",
          this.project.path("soak.yaml"),
          "--json",
          "--tasks",
          this.project.path("tasks"),
          "--out",
          out,
        ],
        env: this.env,
        stdout: "piped",
        stderr: "piped",
      }).spawn(),
    );
  }

  [Symbol.dispose](): void {
    this.project[Symbol.dispose]();
  }

  #addStage(i: number): void {
    this.stages[`s${i}`] = {
      task: `t${this.#random.below(TASKS)}`,
      params: {
        x: this.#random.below(3),
        source: this.project.path(
          "data",
          `${this.#random.below(SOURCES)}.txt`,
        ),
      },
      inputs: { from: i === 0 ? [] : this.#inputs(i) },
    };
  }

  #inputs(i: number): string[] {
    const before = this.ids.slice(0, i);
    return before.filter(() => this.#random.chance(1.5 / before.length));
  }

  #writeHelper(i: number): void {
    this.project.write(
      `lib/h${i}.ts`,
      `${this.#comments[i]}export const value: number = ${
        this.#constants[i]
      };\n`,
    );
  }

  /**
   * Each task reads two helpers, one of them by a dynamic import. Some ignore
   * what they read, so that their outputs stay the same.
   */
  #writeTask(i: number): void {
    const [now, late] = [
      this.#random.below(HELPERS),
      this.#random.below(HELPERS),
    ];
    const pause = this.#random.below(60);
    const result = i % 2 === 0
      ? "[params.x, source, value, late, ...readAll('from')].join('|')"
      : "String((params.x + source.length + value + late + readAll('from').length) % 3)";
    this.project.task(
      `t${i}`,
      `const { value: late } = await import("../lib/h${late}.ts");
       const source = Deno.readTextFileSync(params.source);
       await new Promise((resolve) => setTimeout(resolve, ${pause}));
       Deno.writeTextFileSync(stage.output + "/more-" + params.x + ".txt", source);
       return ${result};`,
      {
        head: `import { value } from "../lib/h${now}.ts";`,
        inputs: { from: { kind: "text", many: true, optional: true } },
        rest: "sources: (params: any) => ({ source: params.source }),",
      },
    );
  }
}
