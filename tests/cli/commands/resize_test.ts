import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "node:fs";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { tryLockFile } from "../../../lib/files/locks.ts";
import { SmallDisk } from "../../files/small_disk.ts";
import { factors, KOHYA, writeFile } from "../../resize/lora_file.ts";
import { callHere, callMain } from "../project.ts";

const folder = await Deno.makeTempDir();
addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

const source = writeFile(folder, "hands.safetensors", {
  ...factors("unet_a", [9, 7, 6], KOHYA, 2),
  ...factors("unet_b", [5, 12, 6], KOHYA, 2),
});

Deno.test("resize writes a file for each rank, and says what is kept", async () => {
  const to = `${folder}/several`;
  const { code, stdout, stderr } = await callHere(
    ...["resize", source, "--ranks", "2,4", "--to", to, "--modules"],
  );
  assertEquals(code, 0, stderr);
  assertMatch(stderr, /kohya: 2 modules of rank 6/);
  assertMatch(stdout, /^Module +rank +energy kept +relative error +size$/m);
  assertMatch(stdout, /^unet_a +6 to 2 +\d+\.\d\d % +0\.\d+ +[\d.]+ MB$/m);
  // The sum comes first.
  assertMatch(stdout, /^all +6 to 4 [^\n]*\nunet_a /m);
  assertMatch(stdout, /^Wrote .*several\/rank-4, \d/m);
  assertMatch(
    stdout,
    /Energy is not quality[^]*"deno\s+task\s+pipeline\s+resize"/,
  );
  for (const rank of [2, 4]) {
    using file = SafetensorsFile.open(`${to}/rank-${rank}/hands.safetensors`);
    assertEquals(file.tensors.get("unet_b.lora_up.weight")!.shape, [5, rank]);
  }
  assert(!existsSync(`${to}.incomplete`));
});

Deno.test("resize shows the sum alone unless it is asked for modules, and says what a budget needs", async () => {
  const sum = await callHere("resize", source, "--rank", "2", "--dry-run");
  assertEquals(sum.code, 0, sum.stderr);
  assertMatch(sum.stdout, /^all +6 to 2 /m);
  assertEquals(sum.stdout.includes("unet_a"), false);
  const small = await callHere(
    ...["resize", source, "--budget", "10B", "--dry-run"],
  );
  const [, least] = /--budget (\d+B)$/m.exec(small.stderr)!;
  const enough = await callHere(
    ...["resize", source, "--budget", least!, "--dry-run"],
  );
  assertEquals([small.code, enough.code], [1, 0], enough.stderr);
  const file = await callHere(
    ...["resize", source, "--rank", "2", "--to", `${folder}/x.safetensors`],
  );
  assertEquals(file.code, 2);
  assertMatch(
    file.stderr,
    /x\.safetensors" for option "--to": expected a folder/,
  );
});

Deno.test("resize shows names of tensors without their control characters", async () => {
  const odd = writeFile(folder, "odd.safetensors", {
    ...factors("a\x1b[2J\x9b", [9, 7, 6], KOHYA, 2),
  });
  const shown = await callHere(
    "resize",
    odd,
    "--rank",
    "2",
    "--dry-run",
    "--modules",
  );
  const failed = await callHere(
    ...["resize", source, "--add", `${odd}=1`, "--rank", "2", "--dry-run"],
  );
  Deno.removeSync(odd);
  assertEquals([shown.code, failed.code], [0, 1]);
  for (const text of [shown.stdout, failed.stderr]) {
    assertMatch(text, /a\ufffd\[2J\ufffd/);
    assertEquals(/(?!\n)\p{Cc}/u.test(text), false);
  }
});

Deno.test({
  name: "resize names the full disk",
  ignore: !SmallDisk.isPossible,
  async fn() {
    using disk = new SmallDisk(8192);
    const big = writeFile(folder, "big.safetensors", {
      ...factors("unet_a", [900, 700, 6], KOHYA, 2),
    });
    // Its threads have the file open until the process ends.
    const { code, stderr } = await callMain(
      ...["resize", big, "--rank", "5", "--to", `${disk.path}/x`],
    );
    Deno.removeSync(big);
    assertEquals(code, 1);
    assertMatch(stderr, /^No space left on the disk of ".*"; free some/m);
    assertEquals([...Deno.readDirSync(disk.path)], []);
  },
});

Deno.test("resize replaces what a killed one has left, and nothing of another that runs", async () => {
  const [to, left] = [`${folder}/again`, `${folder}/again.incomplete`];
  Deno.mkdirSync(left);
  Deno.writeTextFileSync(`${left}/.lock`, "process 1");
  const args = ["resize", source, "--rank", "2", "--to", to];
  {
    using _lock = tryLockFile(`${left}/.lock`);
    const { code, stderr } = await callHere(...args);
    assertEquals(code, 2);
    assertMatch(stderr, /again\.incomplete" already exists/);
  }
  const { code, stderr } = await callHere(...args);
  assertEquals(code, 0, stderr);
  assert(!existsSync(left));
  Deno.removeSync(to, { recursive: true });
});

Deno.test("resize --dry-run --json prints an object for each module, and writes nothing", async () => {
  const called = await callHere(
    ...["resize", source, "--energy", "0.8", "--max-rank", "3"],
    ...["--add", `${source}=0.5`, "--dry-run", "--json"],
  );
  assertEquals(called.code, 0, called.stderr);
  const lines = called.json();
  assertEquals(lines.map(({ type, name }) => [type, name]), [
    ["module", "unet_a"],
    ["module", "unet_b"],
    ["total", "all"],
  ]);
  assertEquals(lines[0].rankBefore, 12);
  assert(lines.every(({ rank }) => rank >= 1 && rank <= 3));
  assert(lines[2].energy >= 0.8);
  assertEquals(
    [...Deno.readDirSync(folder)].filter(({ name }) => name !== "several")
      .map(({ name }) => name),
    ["hands.safetensors"],
  );
});

Deno.test("resize takes an error, a size, weights, a type and threads", async () => {
  const resized = async (...args: string[]) => {
    const to = `${folder}/one`;
    const { code, stderr, json } = await callHere(
      ...["resize", source, "--json", "--to", to, ...args],
    );
    assertEquals(code, 0, stderr);
    using file = SafetensorsFile.open(`${to}/hands.safetensors`);
    const { dtype } = file.tensors.get("unet_a.lora_up.weight")!;
    const values = file.floats("unet_a.lora_up.weight");
    const { size } = Deno.statSync(`${to}/hands.safetensors`);
    Deno.removeSync(to, { recursive: true });
    return { total: json().at(-1), dtype, size, values };
  };
  const exact = await resized("--error", "0.3");
  assert(exact.total.error <= 0.3 && exact.total.rank < 6, exact.total.error);
  const small = await resized("--budget", "1100B");
  assert(small.size <= 1100 && small.size === small.total.fileBytes);
  const half = await resized("--rank", "6", "--dtype", "F16");
  assertEquals(half.dtype, "F16");
  const [one, four] = [
    await resized("--rank", "6", "--threads", "1"),
    await resized("--rank", "6", "--threads", "2", "--weight", "4"),
  ];
  assertEquals(one.dtype, "F32");
  // Both factors are balanced, so four times the update is twice a factor.
  assertEquals(four.values, one.values.map((it) => 2 * it));
});

Deno.test("resize that fails leaves nothing", async () => {
  const broken = writeFile(folder, "broken.safetensors", {
    "m.lora_down.weight": { shape: [1, 2], values: Float32Array.of(1, NaN) },
    "m.lora_up.weight": { shape: [2, 1], values: Float32Array.of(1, 2) },
  });
  const to = `${folder}/failed`;
  const { code, stderr } = await callHere(
    ...["resize", broken, "--rank", "1", "--to", to],
  );
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /^Tensor "m\.lora_down\.weight" of ".*broken.* holds NaN/m,
  );
  assert(!existsSync(to) && !existsSync(`${to}.incomplete`));
  Deno.removeSync(broken);
});

for (
  const [args, message] of [
    [
      ["--to", "x"],
      /Give one of --rank, --ranks, --energy, --error and --budg/,
    ],
    [["--rank", "2", "--energy", "0.9", "--to", "x"], /Give one of/],
    [["--rank", "2"], /Missing option "--to"/],
    [
      ["--rank", "2", "--max-rank", "1", "--to", "x"],
      /cannot be used with "--r/,
    ],
    [["--energy", "95", "--to", "x"], /"95".*expected a number from 0 to 1/],
    [["--ranks", "1,b", "--to", "x"], /"1,b".*expected a list such as 1,2,4/],
    [["--budget", "big", "--to", "x"], /"big".*expected a size/],
    [
      ["--rank", "2", "--add", "x", "--to", "x"],
      /"x".*expected ADAPTER=WEIGHT/,
    ],
    [["--rank", "2", "--weight", "w", "--to", "x"], /"w".*expected a number/],
    [["--rank", "2", "--to", folder], /already exists: remove it/],
  ] as const
) {
  Deno.test(`resize refuses "${args.join(" ")}"`, async () => {
    const { code, stderr } = await callHere("resize", source, ...args);
    assertEquals(code, 2);
    assertMatch(stderr, message);
  });
}
