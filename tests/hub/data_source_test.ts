import { assertEquals, assertThrows } from "@std/assert";
import { parseDataSource } from "../../lib/hub/data_source.ts";

const name = "org/name";

for (
  const [source, expected] of [
    ["hub:org/name", { name, revision: "main" }],
    ["hub:org/name/test", { name, revision: "main", split: "test" }],
    ["hub:org/name:en.us", { name, revision: "main", config: "en.us" }],
    [
      "hub:org/name@v1.2:cola/train",
      { name, revision: "v1.2", config: "cola", split: "train" },
    ],
    [
      "hub:org/name@refs/convert/parquet/train",
      { name, revision: "refs/convert/parquet", split: "train" },
    ],
    [
      "hub:org/name@refs/pr/7:a b",
      { name, revision: "refs/pr/7", config: "a b" },
    ],
  ] as const
) {
  Deno.test(`parseDataSource() reads "${source}"`, () =>
    assertEquals<unknown>(parseDataSource(source), expected));
}

for (
  const source of [
    "hub:name",
    "hub:org/name/",
    "hub:org/name/data/train",
    "hub:../name",
    "hub:org/name@a..b",
    "hub:org/name:a/b/c",
    "org/name",
  ]
) {
  Deno.test(`parseDataSource() refuses "${source}", with the forms it takes`, () => {
    assertThrows(
      () => parseDataSource(source),
      RangeError,
      `"${source}" does not name a data set of the hub; use "hub:OWNER/NAME"`,
    );
  });
}
