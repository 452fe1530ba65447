import { join } from "node:path";

const root = join(import.meta.dirname!, "../../..");

/** Our side of the epoch benchmark: a pipeline whose model and data are fetched. */
export class EpochPipeline implements Disposable {
  readonly #out: string;
  readonly #model: string;
  readonly #data: string;

  private constructor(out: string, model: string, data: string) {
    this.#out = out;
    this.#model = model;
    this.#data = data;
  }

  /**
   * Fetches what is not timed.
   *
   * @param model Folder of a Hugging Face model
   * @param data Folder of GLUE's TSV files
   */
  static async prepare(model: string, data: string): Promise<EpochPipeline> {
    const out = Deno.makeTempDirSync({ prefix: "bench-epoch-" });
    const made = new EpochPipeline(out, model, data);
    await made.#run("f32", ["model", "data"]);
    return made;
  }

  /** Tokenizes and trains, even if the results are cached. */
  async train(precision: "f32" | "bf16"): Promise<void> {
    await this.#run(precision, ["tokens", "trained", "--force"]);
  }

  async #run(precision: string, args: readonly string[]): Promise<void> {
    const { success, code, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        cwd: root,
        args: [
          ...["run", "-A", "--quiet", "--unstable-lazy-dynamic-imports"],
          ...["lib/cli/main.ts", "pipeline"],
          join(import.meta.dirname!, "mrpc.yaml"),
          ...args,
          ...["--out", this.#out, "-S", `precision=${precision}`],
          ...["-S", `model=${this.#model}`, "-S", `data=${this.#data}`],
        ],
        stdout: "piped",
        stderr: "piped",
      },
    ).output();
    if (success) return;
    const text = [stdout, stderr].map((bytes) =>
      new TextDecoder().decode(bytes)
    );
    throw new Error(
      `The pipeline ended with code ${code}: ${text.join("\n").trim()}`,
    );
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#out, { recursive: true });
  }
}
