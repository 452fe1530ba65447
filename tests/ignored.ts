/** A test that may be ignored on a machine that has everything that tests can have. */
export interface Ignorable {
  readonly file: string;
  /** A part of the names of its tests; all of the file by default. */
  readonly name?: string;
  readonly reason: string;
}

const LONG = "It takes many minutes: DYLORA_LONG=1";

/** Which tests may be ignored by `deno task test --strict`, and why. */
export const WHY_IGNORED: readonly Ignorable[] = [
  { file: "tests/cli/commands/glue_full_test.ts", reason: LONG },
  { file: "tests/cli/terminal/interrupts_test.ts", reason: LONG },
  { file: "tests/engine/tensorflow/open_test.ts", reason: LONG },
  {
    file: "tests/long/slurm_test.ts",
    name: "time limit",
    reason: LONG,
  },
  {
    file: "tests/long/slurm_restarts_test.ts",
    name: "time limit",
    reason: LONG,
  },
  {
    file: "tests/engine/backends/webgpu_test.ts",
    name: "if there is no adapter",
    reason: "It needs a machine without an adapter for WebGPU",
  },
  {
    file: "tests/engine/install/check_test.ts",
    name: "installs the real wheel from a folder of wheels",
    reason: "It needs the library's wheel in a folder: DYLORA_WHEELS",
  },
  {
    file: "tests/text/decode_test.ts",
    reason: "The fixture of this model has no texts to decode",
  },
  {
    file: "tests/benchmarks/glue_test.ts",
    name: "reads every line of the real",
    reason: "The data of QQP and MNLI are too large to lie beside the project",
  },
];
