import {
  assert,
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import type { RankTarget } from "../../lib/resize/choose.ts";
import { resize, type ResizeRequest } from "../../lib/resize/resize.ts";
import {
  factors,
  KOHYA,
  PEFT,
  updateOf,
  writeFile,
  writeFolder,
} from "./lora_file.ts";
import { LocalHub } from "../hub/local_hub.ts";
import { withEnvironment } from "../environment.ts";

async function withFolder(body: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function test(name: string, body: (folder: string) => Promise<void>): void {
  Deno.test(name, () => withFolder(body));
}

/** Resizes into a new folder; gives its path and the results. */
async function resized(
  source: string,
  choice: RankTarget,
  more: Partial<ResizeRequest> & { readonly threads?: number } = {},
) {
  const output = await Deno.makeTempDir({ dir: source.replace(/[^/]+$/, "") });
  const { threads = 1, ...request } = more;
  const [result] = await resize({
    source,
    weight: 1,
    added: [],
    dtype: undefined,
    choices: new Map([["", choice]]),
    ...request,
  }, { output, threads });
  return { output, ...result! };
}

function assertSame(actual: number[], expected: number[], tolerance = 1e-6) {
  assertEquals(actual.length, expected.length);
  const difference = Math.max(
    ...actual.map((it, i) => Math.abs(it - expected[i]!)),
  );
  assert(difference < tolerance, `they differ by ${difference}`);
}

const threeModules = (
  notation: readonly [string, string, string?],
  alpha?: number,
) => ({
  ...factors("unet_a", [9, 7, 6], notation, alpha),
  ...factors("unet_b", [5, 12, 6], notation, alpha),
  ...factors("unet_c", [20, 4, 4], notation, alpha),
});

test("resize() keeps the updates at their own rank, in every notation of factors", async (folder) => {
  for (
    const [a, b] of [
      KOHYA,
      PEFT,
      [".lora_A.default.weight", ".lora_B.default.weight"],
      [".lora_embedding_A", ".lora_embedding_B"],
      [".lora.down.weight", ".lora.up.weight"],
      ["_lora.down.weight", "_lora.up.weight"],
      [".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"],
    ] as const
  ) {
    const source = writeFile(folder, "own.safetensors", threeModules([a, b]));
    const { output, total } = await resized(source, { rank: 6 });
    assertEquals(total.energy, 1);
    for (const module of ["unet_a", "unet_b", "unet_c"]) {
      assertSame(
        updateOf(`${output}/own.safetensors`, module, [a, b]),
        updateOf(source, module, [a, b]),
      );
    }
  }
});

test("resize() folds the scale into the alpha of kohya's file, and sets its metadata anew", async (folder) => {
  const source = writeFile(folder, "hands.safetensors", {
    ...threeModules(KOHYA, 2),
    unrelated: { shape: [2], values: Int32Array.of(4, 5) },
  }, {
    ss_network_dim: "6",
    ss_network_alpha: "2.0",
    sshs_model_hash: "abc",
    ss_training_comment: "hands",
    title: "x",
  });
  const { output, modules } = await resized(source, { rank: 3 });
  assertEquals(modules.map(({ rank }) => rank), [3, 3, 3]);
  using file = SafetensorsFile.open(`${output}/hands.safetensors`);
  assertEquals(file.floats("unet_a.alpha"), Float32Array.of(1));
  assertEquals(file.floats("unet_c.alpha"), Float32Array.of(1.5));
  assertEquals(file.ints("unrelated"), Int32Array.of(4, 5));
  assertEquals(Object.fromEntries(file.metadata), {
    ss_network_dim: "3",
    ss_network_alpha: "Dynamic",
    ss_training_comment: "resized from rank 6 to 3; hands",
    title: "x",
  });
});

test("resize() gives the patterns of PEFT that keep each module's scale", async (folder) => {
  const tensors = {
    ...factors("base_model.model.l.1.q", [9, 7, 6], PEFT),
    ...factors("base_model.model.l.1.v", [9, 7, 4], PEFT),
    ...factors("base_model.model.l.11.v", [9, 7, 6], PEFT),
    "base_model.model.head.weight": {
      shape: [2],
      values: Float32Array.of(1, 2),
    },
  };
  const source = writeFolder(folder, "peft", tensors, {
    rank_pattern: { "1.v": 4, "11.v": 6 },
    alpha_pattern: { "11.v": 12 },
  });
  Deno.writeTextFileSync(`${source}/tokenizer.json`, "{}");
  Deno.writeTextFileSync(`${source}/training.json`, "{}");
  const { output } = await resized(source, { rank: 5 });
  const { r, lora_alpha, rank_pattern, alpha_pattern, ...rest } = JSON.parse(
    Deno.readTextFileSync(`${output}/adapter_config.json`),
  );
  assertEquals([r, lora_alpha], [5, 2.5]);
  assertEquals(rank_pattern, { "l.1.v": 4 });
  assertEquals(alpha_pattern, { "l.1.v": 3, "l.11.v": 10 });
  assertEquals(rest, {
    peft_type: "LORA",
    lora_dropout: 0.5,
    target_modules: ["q", "v"],
  });
  assertEquals([...Deno.readDirSync(output)].map(({ name }) => name).sort(), [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "singular-values.svg",
    "tokenizer.json",
  ]);
  const weights = `${output}/adapter_model.safetensors`;
  using file = SafetensorsFile.open(weights);
  assertEquals(
    file.floats("base_model.model.head.weight"),
    Float32Array.of(1, 2),
  );
  assertSame(
    updateOf(weights, "base_model.model.l.1.v", PEFT, 3 / 4),
    updateOf(
      `${source}/adapter_model.safetensors`,
      "base_model.model.l.1.v",
      PEFT,
      3 / 4,
    ),
  );
});

test("resize() reads and writes the configurations that diffusers keeps in the metadata", async (folder) => {
  const metadata = {
    lora_adapter_metadata: JSON.stringify({
      "transformer.r": 6,
      "transformer.lora_alpha": 12,
      "transformer.rank_pattern": { c: 4 },
      "transformer.lora_dropout": 0.5,
      "text_encoder.r": 6,
      "text_encoder.lora_alpha": 3,
    }),
  };
  const source = writeFile(folder, "d.safetensors", {
    ...factors("transformer.a", [9, 7, 6], PEFT),
    ...factors("transformer.c", [9, 7, 4], PEFT),
    ...factors("text_encoder.a", [9, 7, 6], PEFT),
  }, metadata);
  const { output } = await resized(source, { rank: 3 });
  using file = SafetensorsFile.open(`${output}/d.safetensors`);
  assertEquals(JSON.parse(file.metadata.get("lora_adapter_metadata")!), {
    "transformer.r": 3,
    "transformer.lora_alpha": 6,
    "transformer.rank_pattern": {},
    "transformer.alpha_pattern": { c: 9 },
    "transformer.lora_dropout": 0.5,
    "text_encoder.r": 3,
    "text_encoder.lora_alpha": 1.5,
    "text_encoder.rank_pattern": {},
    "text_encoder.alpha_pattern": {},
  });
});

test("resize() adds up adapters with weights, exactly", async (folder) => {
  const first = writeFile(folder, "a.safetensors", threeModules(KOHYA, 2));
  const tensors = threeModules(KOHYA, 3);
  const negative = Object.fromEntries(
    Object.entries(tensors).filter(([name]) => !name.startsWith("unet_c"))
      .map(([name, { shape, values }]) => [
        name.replace("unet_b", "unet_d"),
        { shape, values: (values as Float32Array).toReversed() },
      ]),
  );
  const second = writeFile(folder, "b.safetensors", negative);
  const { output } = await resized(first, { rank: 12 }, {
    weight: 0.75,
    added: [{ source: second, weight: -0.5 }],
  });
  const path = `${output}/a.safetensors`;
  const sum = updateOf(first, "unet_a", KOHYA).map((it, i) =>
    0.75 * it - 0.5 * updateOf(second, "unet_a", KOHYA)[i]!
  );
  assertSame(updateOf(path, "unet_a", KOHYA), sum);
  assertSame(
    updateOf(path, "unet_d", KOHYA),
    updateOf(second, "unet_d", KOHYA).map((it) => -0.5 * it),
  );
});

test("resize() adds up PEFT folders, and targets the modules of both", async (folder) => {
  const [q, v] = ["base_model.model.l.1.q", "base_model.model.l.1.v"] as const;
  const first = writeFolder(folder, "a", factors(q, [9, 7, 6], PEFT));
  const second = writeFolder(folder, "b", {
    ...factors(q, [9, 7, 6], PEFT),
    ...factors(v, [5, 7, 6], PEFT),
  }, { lora_alpha: 12 });
  const { output } = await resized(first, { rank: 12 }, {
    added: [{ source: second, weight: 0.25 }],
  });
  const config = JSON.parse(
    Deno.readTextFileSync(`${output}/adapter_config.json`),
  );
  assertEquals(config.target_modules, ["l.1.q", "l.1.v"]);
  assertEquals([config.r, config.lora_alpha], [12, 6]);
  assertEquals(config.rank_pattern, { "l.1.v": 6 });
  assertEquals(config.alpha_pattern, { "l.1.v": 12 });
  // Both have the same factors of q: 0.5 + 0.25 * 2.
  const name = "adapter_model.safetensors";
  assertSame(
    updateOf(`${output}/${name}`, q, PEFT, 0.5),
    updateOf(`${first}/${name}`, q, PEFT, 1),
  );
  assertSame(
    updateOf(`${output}/${name}`, v, PEFT, 2),
    updateOf(`${second}/${name}`, v, PEFT, 0.5),
  );
});

test("resize() chooses ranks by one threshold for all modules", async (folder) => {
  const source = writeFile(folder, "own.safetensors", threeModules(KOHYA, 6));
  const whole = await resized(source, { rank: 6 });
  const values = new Map(["unet_a", "unet_b", "unet_c"].map((module) => {
    using file = SafetensorsFile.open(`${whole.output}/own.safetensors`);
    const [rank, inputs] = file.tensors.get(`${module}.lora_down.weight`)!
      .shape as [number, number];
    const down = file.floats(`${module}.lora_down.weight`);
    const scale = file.floats(`${module}.alpha`)[0]! / rank;
    // A is sqrt(S / scale) V^T.
    return [
      module,
      Array.from(
        { length: rank },
        (_, k) =>
          scale * down.subarray(k * inputs, (k + 1) * inputs)
            .reduce((sum, it) => sum + it * it, 0),
      ),
    ];
  }));
  const squares = [...values.values()].flat().map((it) => it ** 2);
  const total = squares.reduce((sum, it) => sum + it, 0);
  for (
    const [choice, energy] of [
      [{ energy: 0.9 }, 0.9],
      [{ error: 0.2 }, 0.96],
    ] as const
  ) {
    const { modules, total: kept } = await resized(source, choice);
    assert(kept.energy >= energy, `${kept.energy}`);
    assert(Math.abs(kept.energy + kept.error ** 2 - 1) < 1e-9);
    const threshold = Math.min(
      ...modules.map(({ name, rank }) => values.get(name)![rank - 1]!),
    );
    // Nothing above the smallest that is kept is lost, and without it the
    // energy is too small.
    for (const { name, rank } of modules) {
      assert((values.get(name)![rank] ?? 0) < threshold);
    }
    assert(kept.energy - threshold ** 2 / total < energy);
    const capped = await resized(source, { ...choice, maxRank: 2 });
    assertEquals(Math.max(...capped.modules.map(({ rank }) => rank)), 2);
  }
  const small = await resized(source, { budget: 1600 });
  const { size } = Deno.statSync(`${small.output}/own.safetensors`);
  assertEquals(small.fileBytes, size);
  // The next rank of a module takes 64 to 96 bytes.
  assert(size <= 1600 && size > 1500, `${size}`);
  assertEquals(
    small.total.bytes,
    small.modules.reduce((sum, { bytes }) => sum + bytes, 0),
  );
});

test("resize() gives the same bytes with any number of threads, and the type that is requested", async (folder) => {
  const source = writeFile(folder, "own.safetensors", threeModules(KOHYA, 6));
  const read = (output: string) =>
    Deno.readFileSync(`${output}/own.safetensors`);
  const one = await resized(source, { energy: 0.9 });
  const three = await resized(source, { energy: 0.9 }, { threads: 3 });
  assertEquals(read(three.output), read(one.output));
  for (const dtype of ["F16", "BF16"]) {
    const { output, total } = await resized(source, { rank: 6 }, { dtype });
    assertEquals(
      total.bytes,
      2 * (16 * 6 + 17 * 6 + 24 * 4),
    );
    using file = SafetensorsFile.open(`${output}/own.safetensors`);
    assertEquals(file.tensors.get("unet_a.lora_up.weight")!.dtype, dtype);
    assertSame(
      updateOf(`${output}/own.safetensors`, "unet_a", KOHYA),
      updateOf(source, "unet_a", KOHYA),
      0.05,
    );
  }
});

test("resize() reports its progress, over both passes if ranks depend on all modules", async (folder) => {
  const source = writeFile(folder, "own.safetensors", threeModules(KOHYA));
  for (
    const [choice, calls] of [[{ rank: 2 }, 3], [{ energy: 0.9 }, 6]] as const
  ) {
    const shares: number[] = [];
    const output = await Deno.makeTempDir({ dir: folder });
    await resize({
      source,
      weight: 1,
      added: [],
      dtype: undefined,
      choices: new Map([["", choice]]),
    }, {
      output,
      threads: 1,
      onProgress: (done, total) => shares.push(done / total),
    });
    assertEquals(shares.length, calls);
    assertEquals(shares, shares.toSorted((a, b) => a - b));
    assertEquals(shares.at(-1), 1);
    assert(shares[0]! > 0 && shares[0]! < 0.7);
  }
});

test("resize() shows what it would keep without writing", async (folder) => {
  const source = writeFile(folder, "own.safetensors", threeModules(KOHYA, 6));
  const before = [...Deno.readDirSync(folder)].length;
  const results = await resize({
    source,
    weight: 1,
    added: [],
    dtype: undefined,
    choices: new Map([["a", { rank: 2 }], ["b", { rank: 4 }]]),
  }, { output: undefined, threads: 1 });
  assert(results[0]!.total.energy < results[1]!.total.energy);
  assertEquals([...Deno.readDirSync(folder)].length, before);
});

test("resize() refuses a configuration of other modules, and too many modules and too large ranks", async (folder) => {
  const config = JSON.stringify({ "unet.r": 6, "unet.lora_alpha": 3 });
  const metadata = { lora_adapter_metadata: config };
  const tensors = factors("transformer.q", [9, 7, 6], PEFT);
  const other = writeFile(folder, "other.safetensors", tensors, metadata);
  const wide = writeFile(
    folder,
    "wide.safetensors",
    factors("q", [1, 1, 20_000], PEFT),
  );
  const one = { shape: [1, 1], values: new Float32Array(1) };
  const many = writeFile(
    folder,
    "many.safetensors",
    Object.fromEntries(
      Array.from(
        { length: 50_001 },
        (_, i) => PEFT.map((it) => [`m.${i}${it}`, one]),
      ).flat(),
    ),
  );
  for (
    const [source, message] of [
      [
        other,
        'module "transformer.q" has no settings: those of the configuration are of modules whose names start with "unet."',
      ],
      [wide, '"q.lora_A.weight" has rank 20000; the maximum is 8192'],
      [many, "it has 50001 modules; the maximum is 50000"],
    ] as const
  ) {
    await assertRejects(
      () => resized(source, { rank: 1 }),
      SyntaxError,
      message,
    );
  }
});

test("resize() writes patterns in which the name of a module may end that of another", async (folder) => {
  const names = ["blocks.0.proj_out", "proj_out", "blocks.10.proj_out"];
  const source = writeFolder(
    folder,
    "peft",
    Object.assign(
      {},
      ...names.map((name, i) =>
        factors(`base_model.model.${name}`, [9, 7, i === 1 ? 2 : 6], PEFT)
      ),
    ),
    { target_modules: names },
  );
  const config = `${source}/adapter_config.json`;
  const fields = JSON.parse(Deno.readTextFileSync(config));
  const patterns = {
    rank_pattern: {
      "blocks.0.proj_out": 6,
      "blocks.10.proj_out": 6,
      proj_out: 2,
    },
    alpha_pattern: {
      "blocks.0.proj_out": 3,
      "blocks.10.proj_out": 3,
      proj_out: 9,
    },
  };
  Deno.writeTextFileSync(config, JSON.stringify({ ...fields, ...patterns }));
  const { output } = await resized(source, { rank: 4 });
  const written = JSON.parse(
    Deno.readTextFileSync(`${output}/adapter_config.json`),
  );
  assertEquals([written.r, written.lora_alpha], [4, 2]);
  assertEquals(Object.entries(written.rank_pattern), [
    ["blocks.10.proj_out", 4],
    ["blocks.0.proj_out", 4],
    ["proj_out", 2],
  ]);
  assertEquals(Object.entries(written.alpha_pattern), [
    ["blocks.10.proj_out", 2],
    ["blocks.0.proj_out", 2],
    ["proj_out", 9],
  ]);
  // It can be read again.
  const again = await resized(output, { rank: 1 });
  assertEquals(again.total.rank, 1);
});

test("resize() takes a file of kohya without alphas for one", async (folder) => {
  const [down, up] = KOHYA;
  const source = writeFile(
    folder,
    "plain.safetensors",
    factors("unet_a", [9, 7, 6], [down, up]),
    { ss_network_dim: "6" },
  );
  const { output } = await resized(source, { rank: 2 });
  using file = SafetensorsFile.open(`${output}/plain.safetensors`);
  assertEquals(file.metadata.get("ss_network_dim"), "2");
});

test("resize() copies no file of another folder, and names what is not a file", async (folder) => {
  const tensors = factors("base_model.model.l.1.q", [9, 7, 6], PEFT);
  const source = writeFolder(folder, "peft", tensors);
  Deno.writeTextFileSync(`${folder}/secret`, "secret");
  Deno.symlinkSync("../secret", `${source}/tokenizer.json`);
  await assertRejects(
    () => resized(source, { rank: 4 }),
    SyntaxError,
    `tokenizer.json" is a link to "${folder}/secret", outside of the adapter`,
  );
  Deno.removeSync(`${source}/tokenizer.json`);
  Deno.mkdirSync(`${source}/README.md`);
  await assertRejects(
    () => resized(source, { rank: 4 }),
    SyntaxError,
    'README.md" is not a file: remove it',
  );
  // As the hub's cache links to its blobs.
  Deno.mkdirSync(`${folder}/models--me--lora/snapshots`, { recursive: true });
  Deno.mkdirSync(`${folder}/models--me--lora/blobs`);
  Deno.removeSync(`${source}/README.md`);
  const snapshot = `${folder}/models--me--lora/snapshots/main`;
  Deno.renameSync(source, snapshot);
  Deno.writeTextFileSync(`${snapshot}/../../blobs/abc`, "# Mine\n");
  Deno.symlinkSync("../../blobs/abc", `${snapshot}/README.md`);
  const { output } = await resized(snapshot, { rank: 4 });
  assertMatch(Deno.readTextFileSync(`${output}/README.md`), /^# Mine$/m);
});

test("resize() refuses the weights of PEFT without their configuration, which has ranks and scales", async (folder) => {
  const source = writeFolder(
    folder,
    "peft",
    factors("base_model.model.l.1.q", [9, 7, 6], PEFT),
  );
  Deno.removeSync(`${source}/adapter_config.json`);
  for (const path of [source, `${source}/adapter_model.safetensors`]) {
    await assertRejects(
      () => resized(path, { rank: 4 }),
      SyntaxError,
      'has "adapter_model.safetensors" without "adapter_config.json"',
    );
  }
});

test("resize() keeps the model card, and says what has changed", async (folder) => {
  const source = writeFolder(
    folder,
    "peft",
    factors("base_model.model.l.1.q", [9, 7, 6], PEFT),
  );
  Deno.writeTextFileSync(
    `${source}/README.md`,
    "---\nlicense: mit\n---\n# Mine\n",
  );
  const once = await resized(source, { rank: 4 });
  const twice = await resized(once.output, { rank: 2 });
  const card = Deno.readTextFileSync(`${twice.output}/README.md`);
  assertMatch(card, /^---\nlicense: mit\n---\n# Mine\n\n## Resized\n\n/);
  assertEquals(card.match(/## Resized/g)!.length, 1);
  assertMatch(card, /, rank 4 to 2, by.*Energy is not quality/);
  assertMatch(card, /^\| base\\_model\.model\.l\.1\.q \| 4 to 2 \| \d/m);
  assertMatch(
    Deno.readTextFileSync(`${twice.output}/singular-values.svg`),
    /^<svg/,
  );
});

const own = factors("m", [9, 7, 6], KOHYA, 2);
const empty = (shape: readonly number[]): TensorValues => ({
  shape,
  values: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});

for (
  const [what, tensors, choice, message] of [
    [
      "a value that is not finite",
      {
        ...own,
        "m.lora_up.weight": {
          shape: [9, 6],
          values: new Float32Array(54).with(7, NaN),
        },
      },
      { rank: 2 },
      /^Tensor "m\.lora_up\.weight" of ".*\/own\.safetensors" holds NaN/,
    ],
    [
      "factors that do not fit",
      { ...own, "m.lora_up.weight": empty([9, 5]) },
      { rank: 2 },
      /own\.safetensors": the factors of "m" do not fit: "m\.lora_down\.weight" has shape \[6,7\], "m\.lora_up\.weight" has shape \[9,5\]/,
    ],
    [
      "a factor without the other",
      {
        "m.lora_down.weight": empty([6, 7]),
        ...factors("n", [4, 4, 2], KOHYA),
      },
      { rank: 2 },
      /own\.safetensors": tensor "m\.lora_down\.weight" lacks its other factor$/,
    ],
    [
      "several alphas of a module",
      { ...own, "m.alpha": empty([2]) },
      { rank: 2 },
      /own\.safetensors": tensor "m\.alpha" has shape \[2\], expected one alpha/,
    ],
    [
      "an alpha of zero",
      { ...own, "m.alpha": empty([]) },
      { rank: 2 },
      /"m\.alpha" is 0, expected a positive alpha/,
    ],
    [
      "an alpha of no module",
      { ...own, "lora_n.alpha": empty([]) },
      { rank: 2 },
      /"lora_n\.alpha" belongs to no pair of factors/,
    ],
    [
      "names that match nothing",
      { "model.weight": empty([3]) },
      { rank: 2 },
      /own\.safetensors": it has no LoRA tensors, but "model\.weight"/,
    ],
    [
      "a rank above the file's",
      own,
      { rank: 7 },
      /Rank 7 is above the ranks of ".*own\.safetensors", which are 6/,
    ],
    [
      "a budget that is too small",
      own,
      { budget: 60 },
      /budget of 60 bytes is too small: at rank 1, the file has \d+ bytes/,
    ],
    [
      "LoHa",
      { ...own, "x.hada_w1_a": empty([2]) },
      { rank: 2 },
      /own\.safetensors": LoHa cannot be resized \(tensor "x\.hada_w1_a"\)/,
    ],
    ["DoRA", { ...own, "m.dora_scale": empty([2]) }, { rank: 2 }, /DoRA/],
  ] as readonly (readonly [
    string,
    Record<string, TensorValues>,
    RankTarget,
    RegExp,
  ])[]
) {
  test(`resize() refuses ${what}, and names it`, async (folder) => {
    const source = writeFile(folder, "own.safetensors", tensors);
    for (const threads of [1, 2]) {
      assertIsError(
        await assertRejects(() => resized(source, choice, { threads })),
        Error,
        message,
      );
    }
  });
}

test("resize() refuses a truncated file, and names it", async (folder) => {
  const source = writeFile(folder, "own.safetensors", own);
  Deno.truncateSync(source, Deno.statSync(source).size - 8);
  assertIsError(
    await assertRejects(() => resized(source, { rank: 2 })),
    SyntaxError,
    /own\.safetensors" as safetensors: .*truncated/,
  );
});

test("resize() refuses configurations of PEFT that are not plain LoRA, contradict the file, or have two alphas", async (folder) => {
  const module = "base_model.model.l.1.q";
  for (
    const [config, tensors, message] of [
      [{ use_dora: true }, {}, /DoRA is not supported/],
      [{ peft_type: "LOHA" }, {}, /another type than LoRA \("LOHA"\)/],
      [{ init_lora_weights: "pissa" }, {}, /initialization .*"pissa"/],
      [{ target_parameters: ["x"] }, {}, /bare parameters is not supported/],
      [{ rank_pattern: { ".*q": 6 } }, {}, /write out the module names/],
      [{ r: 8 }, {}, /factors of ".*l\.1\.q" have rank 6, but .* says 8/],
      [{}, { [`${module}.alpha`]: empty([]) }, /l\.1\.q" has two alphas/],
    ] as const
  ) {
    const source = writeFolder(
      await Deno.makeTempDir({ dir: folder }),
      "peft",
      {
        ...factors(module, [9, 7, 6], PEFT),
        ...tensors,
      },
      config,
    );
    assertIsError(
      await assertRejects(() => resized(source, { rank: 2 })),
      SyntaxError,
      message,
    );
  }
});

test("resize() refuses to add what does not fit", async (folder) => {
  const first = writeFile(folder, "a.safetensors", own);
  for (
    const [tensors, message] of [
      [
        factors("n", [9, 7, 6], KOHYA),
        /no module of ".*a\.safetensors", but "n"/,
      ],
      [factors("m", [9, 8, 6], KOHYA), /"m" is \[9, 8\], and \[9, 7\] in/],
      [{ ...own, bias: empty([2]) }, /tensor "bias", which is not LoRA/],
    ] as const
  ) {
    const source = writeFile(folder, "b.safetensors", tensors);
    assertIsError(
      await assertRejects(() =>
        resized(first, { rank: 2 }, { added: [{ source, weight: 1 }] })
      ),
      SyntaxError,
      message,
    );
  }
});

test("resize() says what to name where there is no adapter, or more than one", async (folder) => {
  assertIsError(
    await assertRejects(() => resized(`${folder}/none`, { rank: 2 })),
    SyntaxError,
    /none" does not exist; name a folder/,
  );
  const many = `${folder}/many`;
  Deno.mkdirSync(many);
  Deno.writeTextFileSync(`${many}/adapter_model.bin`, "");
  assertIsError(
    await assertRejects(() => resized(many, { rank: 2 })),
    SyntaxError,
    /"adapter_model\.bin" is a Python pickle/,
  );
  for (const name of ["a", "b"]) writeFile(many, `${name}.safetensors`, own);
  assertIsError(
    await assertRejects(() => resized(many, { rank: 2 })),
    SyntaxError,
    /2 safetensors files: name one.*"a\.safetensors", "b\.safetensors"/,
  );
});

test("resize() fetches an adapter of the hub, and works offline afterwards", async (folder) => {
  const peft = writeFolder(
    folder,
    "peft",
    factors("base_model.model.l.1.q", [9, 7, 6], PEFT),
  );
  const files = new Map(
    [
      ["adapter_config.json", `${peft}/adapter_config.json`],
      ["adapter_model.safetensors", `${peft}/adapter_model.safetensors`],
      ["styles/hands.safetensors", writeFile(folder, "hands", own)],
    ].map(([name, path]) => [name!, Deno.readFileSync(path!)]),
  );
  files.set("README.md", new TextEncoder().encode("# Mine\n"));
  files.set("optimizer.pt", new Uint8Array(9));
  const hub = new LocalHub([{
    id: "models/me/lora",
    commit: "a".repeat(40),
    files,
  }]);
  const env = {
    HF_HUB_CACHE: `${folder}/cache`,
    HF_ENDPOINT: hub.endpoint,
    HF_HUB_OFFLINE: "",
    HF_TOKEN: "",
  };
  const to = async (source: string, name: string, more = {}) => {
    const output = `${folder}/${name}`;
    Deno.mkdirSync(output);
    await withEnvironment({ ...env, ...more }, () =>
      resize({
        source,
        weight: 1,
        added: [],
        dtype: undefined,
        choices: new Map([["", { rank: 2 }]]),
      }, { output, threads: 1 }));
    return output;
  };
  const online = await to("me/lora", "online");
  assertMatch(
    Deno.readTextFileSync(`${online}/README.md`),
    /^# Mine\n\n## Resized\n\nThis is lora, rank 6 to 2, by/,
  );
  assert(!hub.seen.some(({ path }) => path.endsWith("optimizer.pt")));
  await to("me/lora/styles/hands.safetensors@main", "file");
  await hub[Symbol.asyncDispose]();
  const offline = await to("me/lora", "offline", { HF_HUB_OFFLINE: "1" });
  const name = "adapter_model.safetensors";
  assertEquals(
    Deno.readFileSync(`${offline}/${name}`),
    Deno.readFileSync(`${online}/${name}`),
  );
  using _ = SafetensorsFile.open(`${folder}/file/hands.safetensors`);
});
