import { assertEquals, assertRejects } from "@std/assert";
import { openDataSet } from "../../lib/hub/data_files.ts";
import { parseDataSource } from "../../lib/hub/data_source.ts";
import type { HubSettings } from "../../lib/hub/settings.ts";
import { LocalHub } from "./local_hub.ts";
import { assertRemedied, COMMIT, retry, withHub } from "./tiny_repository.ts";

/** A data set with these files, each with its path as content, and a card. */
function dataSet(paths: readonly string[], card?: string, branch = "main") {
  const encoder = new TextEncoder();
  return {
    id: "datasets/org/data",
    commit: COMMIT,
    branch,
    files: new Map([
      ...paths.map((path) => [path, encoder.encode(path)] as const),
      ...card === undefined
        ? []
        : [["README.md", encoder.encode(card)] as const],
    ]),
  };
}

/** Splits of a data set, with their files. */
async function splitsOf(source: string, settings: HubSettings) {
  const { splits } = await openDataSet(parseDataSource(source), {
    settings,
    retry,
  });
  return Object.fromEntries(splits);
}

const shard = (split: string, i = 0, count = 1) =>
  `data/${split}-0000${i}-of-0000${count}.parquet`;

for (
  const [rule, paths, expected] of [
    [
      "the shards in data/",
      [
        shard("train", 1, 2),
        shard("train", 0, 2),
        shard("unsupervised"),
        "extra/dev.parquet",
        "data/train.csv",
      ],
      {
        train: [shard("train", 0, 2), shard("train", 1, 2)],
        unsupervised: [shard("unsupervised")],
      },
    ],
    [
      "names of folders",
      [
        "en/training/a.parquet",
        "en/dev-set/b.parquet",
        "en/other/test.parquet",
      ],
      {
        train: ["en/training/a.parquet"],
        validation: ["en/dev-set/b.parquet"],
      },
    ],
    [
      "names of files",
      ["my_train.parquet", "valid-1.parquet", "eval.parquet", "attest.parquet"],
      {
        train: ["my_train.parquet"],
        validation: ["valid-1.parquet"],
        test: ["eval.parquet"],
      },
    ],
    [
      "nothing, as a training split",
      ["a.parquet", ".hidden/train.parquet", "__cache__/test.parquet"],
      { train: ["a.parquet"] },
    ],
  ] as const
) {
  Deno.test(
    `openDataSet() finds splits by ${rule}`,
    withHub([dataSet(paths)], async (_hub, settings) => {
      assertEquals<unknown>(await splitsOf("hub:org/data", settings), expected);
    }),
  );
}

const CARD = `---
license: mit
configs:
- config_name: short
  data_files:
  - split: train
    path: short/*.parquet
- config_name: long
  default: true
  data_files:
  - split: train
    path: [long/**/a.parquet, long/b?.parquet]
  - split: odd
    path: long/none-*
- config_name: plain
  data_dir: plain
- config_name: tables
  data_files: "*.csv"
---
# Data
`;

Deno.test(
  "openDataSet() takes configurations and splits from the card, and the default configuration",
  withHub([dataSet([
    "short/x.parquet",
    "long/a.parquet",
    "long/deep/a.parquet",
    "long/b1.parquet",
    "long/b12.parquet",
    "plain/dev.parquet",
    "t.csv",
  ], CARD)], async (_hub, settings) => {
    const long = {
      train: ["long/a.parquet", "long/b1.parquet", "long/deep/a.parquet"],
    };
    assertEquals(await splitsOf("hub:org/data", settings), long);
    assertEquals(await splitsOf("hub:org/data:long/train", settings), long);
    assertEquals(await splitsOf("hub:org/data:short", settings), {
      train: ["short/x.parquet"],
    });
    assertEquals(await splitsOf("hub:org/data:plain", settings), {
      validation: ["plain/dev.parquet"],
    });
    await assertRejects(
      () => splitsOf("hub:org/data:tables", settings),
      SyntaxError,
      '"org/data" has no configuration "tables" in parquet files; it has "short", "long", "plain"',
    );
    await assertRejects(
      () => splitsOf("hub:org/data/test", settings),
      SyntaxError,
      '"org/data" has no split "test"; it has "train"',
    );
  }),
);

Deno.test(
  "openDataSet() reads the branch of converted files, and asks for one of several configurations",
  withHub([
    dataSet(
      [
        "a/train/0000.parquet",
        "a/train/0001.parquet",
        "b/partial-test/0000.parquet",
      ],
      undefined,
      "refs/convert/parquet",
    ),
  ], async (_hub, settings) => {
    const source = "hub:org/data@refs/convert/parquet";
    assertEquals(await splitsOf(`${source}:a`, settings), {
      train: ["a/train/0000.parquet", "a/train/0001.parquet"],
    });
    assertEquals(await splitsOf(`${source}:b/test`, settings), {
      test: ["b/partial-test/0000.parquet"],
    });
    await assertRejects(
      () => splitsOf(source, settings),
      SyntaxError,
      '"org/data" has the configurations "a", "b"; name one of them: "hub:org/data:a"',
    );
  }),
);

for (
  const [fault, paths, card, message] of [
    ["no parquet", ["train.csv"], undefined, "no data in parquet files"],
    [
      "parquet outside of its configurations",
      ["a.parquet", "b.csv"],
      "---\nconfigs:\n- config_name: b\n  data_files: b.csv\n---\n",
      'use "hub:org/data@refs/convert/parquet"',
    ],
    [
      "a card whose metadata block is not YAML",
      ["a.parquet"],
      "---\nconfigs: [\n---\n",
      'The metadata block of README.md of "org/data" is not YAML',
    ],
    [
      "invalid configurations",
      ["a.parquet"],
      "---\nconfigs:\n- data_files: 5\n---\n",
      '"configs" in README.md of "org/data" is invalid',
    ],
  ] as const
) {
  Deno.test(
    `openDataSet() refuses a data set with ${fault}`,
    withHub([dataSet(paths, card)], async (_hub, settings) => {
      await assertRejects(
        () => splitsOf("hub:org/data", settings),
        SyntaxError,
        message,
      );
    }),
  );
}

Deno.test(
  "openDataSet() stays at the commit that was fetched first, and needs no network for it again",
  withHub([dataSet([shard("train")])], async (hub, settings) => {
    const options = { settings, retry };
    const source = parseDataSource("hub:org/data");
    const first = await openDataSet(source, options);
    const [file] = await first.fetch("train");
    assertEquals(await Deno.readTextFile(file!), shard("train"));
    assertEquals(first.commit, COMMIT);
    const before = hub.seen.length;
    await using later = new LocalHub([{
      ...dataSet([shard("test")]),
      commit: "f".repeat(40),
    }]);
    for (
      const changed of [
        { ...settings, offline: true },
        { ...settings, endpoint: later.endpoint },
      ]
    ) {
      const again = await openDataSet(source, {
        ...options,
        settings: changed,
      });
      assertEquals([...again.splits.keys()], ["train"]);
      assertEquals(await again.fetch("train"), [file!]);
    }
    assertEquals(hub.seen.length, before);
    assertEquals(later.seen.length, 0);
  }),
);

Deno.test(
  "openDataSet() names a data set that is not there, and one that is not in the cache offline",
  withHub([dataSet([shard("train")])], async (_hub, settings) => {
    const open = (source: string, changes: Partial<HubSettings> = {}) => () =>
      openDataSet(parseDataSource(source), {
        settings: { ...settings, ...changes },
        retry,
      });
    await assertRemedied(
      open("hub:org/data@v2"),
      /no dataset "org\/data" with a revision "v2"/,
    );
    await assertRemedied(
      open(`hub:org/data@${"e".repeat(40)}`),
      /no commit e+ of "org\/data"/,
    );
    await assertRemedied(
      open("hub:org/data", { offline: true }),
      /The list of files of "org\/data", revision "main", is not in the hub's cache/,
    );
  }),
);

Deno.test(
  "openDataSet() refuses paths of the hub that would leave the cache",
  withHub([dataSet(["../train.parquet"])], async (_hub, settings) => {
    await assertRemedied(
      () => openDataSet(parseDataSource("hub:org/data"), { settings, retry }),
      /gives the invalid path "\.\.\/train\.parquet" of a file/,
    );
  }),
);
