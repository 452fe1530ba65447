import { join } from "node:path";

const root = join(import.meta.dirname!, "../..");

/**
 * A pipeline of this project whose runs are timed, with an output folder of its
 * own.
 */
export class TimedPipeline implements Disposable {
  readonly #file: string;
  readonly #settings: readonly string[];
  readonly #out = Deno.makeTempDirSync({ prefix: "bench-" });

  /**
   * @param file The pipeline's YAML file
   * @param settings Values of its parameters by name, for every run
   */
  constructor(file: string, settings: Readonly<Record<string, string>>) {
    this.#file = file;
    this.#settings = Object.entries(settings)
      .flatMap(([name, value]) => ["-S", `${name}=${value}`]);
  }

  /**
   * Runs some of its stages, or all, in a process of its own.
   *
   * @returns What it printed
   * @throws {Error} With what the run printed, if it fails.
   */
  async run(...args: readonly string[]): Promise<string> {
    const { success, code, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        cwd: root,
        args: [
          ...["run", "-A", "--quiet", "--unstable-lazy-dynamic-imports"],
          ...["lib/cli/main.ts", "pipeline", this.#file, ...args],
          ...["--out", this.#out, ...this.#settings],
        ],
        stdout: "piped",
        stderr: "piped",
      },
    ).output();
    const text = [stdout, stderr].map((bytes) =>
      new TextDecoder().decode(bytes)
    );
    if (success) return text[0]!;
    throw new Error(
      `The pipeline ended with code ${code}: ${text.join("\n").trim()}`,
    );
  }

  /** Path of an output: `report/report.json` of the stage `report`. */
  output(pipeline: string, path: string): string {
    return join(this.#out, pipeline, path);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#out, { recursive: true });
  }
}
