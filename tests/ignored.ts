/**
 * A test that may be ignored on a machine that has everything that tests can
 * have.
 */
export interface Ignorable {
  readonly file: string;
  /** A part of the names of its tests; all of the file by default. */
  readonly name?: string;
  readonly reason: string;
}

const LONG = "It takes many minutes: DYLORA_LONG=1";
const ROOT = "It needs root";
const MOUNT = "It needs root, and a kernel that mounts a small disk";
const ADAPTER = "It needs an adapter for WebGPU, such as that of Mesa";

/** Which tests may be ignored by `deno task test --strict`, and why. */
export const WHY_IGNORED: readonly Ignorable[] = [
  { file: "tests/cli/commands/glue_full_test.ts", reason: LONG },
  { file: "tests/cli/terminal/interrupts_test.ts", reason: LONG },
  { file: "tests/engine/tensorflow/open_test.ts", reason: LONG },
  { file: "tests/slurm/cluster.ts", name: "time limit", reason: LONG },
  {
    file: "tests/engine/backends/webgpu_test.ts",
    name: "if there is no adapter",
    reason: "It needs a machine without an adapter for WebGPU",
  },
  {
    file: "tests/engine/backends/webgpu_test.ts",
    name: "makes WebGPU the backend",
    reason: ADAPTER,
  },
  {
    file: "tests/engine/backends/webgpu_test.ts",
    name: "keeps bind groups from using up",
    reason: ADAPTER,
  },
  {
    file: "tests/long/other_engines_test.ts",
    name: "webgpu",
    reason: ADAPTER,
  },
  {
    file: "tests/scheduler/permissions_test.ts",
    name: "where there is Landlock",
    reason: "It needs a kernel with Landlock",
  },
  {
    file: "tests/scheduler/permissions_test.ts",
    name: "gives native code without net no network",
    reason: "It needs a kernel with namespaces of users",
  },
  {
    file: "tests/scheduler/visible_test.ts",
    name: "another disk",
    reason: "It needs a second disk",
  },
  { file: "tests/scheduler/disk_test.ts", reason: MOUNT },
  {
    file: "tests/engine/install/install_test.ts",
    name: "a disk that fills up during the installation",
    reason: MOUNT,
  },
  {
    file: "tests/hub/fetch_files_test.ts",
    name: "says that the disk is full",
    reason: MOUNT,
  },
  {
    file: "tests/cli/commands/resize_test.ts",
    name: "names the full disk",
    reason: MOUNT,
  },
  {
    file: "tests/cli/commands/export_test.ts",
    name: "names the full disk",
    reason: MOUNT,
  },
  { file: "tests/long/walk_test.ts", name: "on a full disk", reason: MOUNT },
  {
    file: "tests/hub/repository_cache_test.ts",
    name: "a cache that it cannot write to",
    reason: ROOT,
  },
  {
    file: "tests/scheduler/rivals_test.ts",
    name: "in another container",
    reason: ROOT,
  },
  {
    file: "tests/engine/install/check_test.ts",
    name: "a library that finds no GPU",
    reason: "It needs a machine without a GPU",
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
