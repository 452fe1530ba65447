import { assertEquals, assertMatch } from "@std/assert";
import { callHere, CliProject } from "../project.ts";

const PIPELINE = `name: test
stages:
  start: { task: make, with: { text: start } }
  end: { task: make, with: { text: end }, inputs: { from: start } }
`;

const MATRIX = `name: test
stages:
  end: { task: make, with: { text: end } }
  ends: { task: make, matrix: { seed: [0, 1] }, with: { text: "ends \${matrix.seed}" } }
`;

Deno.test("cache lists, measures, pins and cleans up results", async () => {
  using project = new CliProject(PIPELINE);
  assertEquals((await project.call("pipeline")).code, 0);
  const cache = (...args: string[]) =>
    callHere("cache", ...args, "--out", project.path("out"));
  const listed = (await cache("ls", "--json")).json();
  assertEquals(listed.map(({ stage }) => stage).sort(), ["end", "start"]);
  assertMatch(
    (await cache("pin", "test/end")).stdout,
    /^[0-9a-f]{12} {2}pinned$/m,
  );
  assertMatch((await cache("ls")).stdout, /test\/end {2}pinned$/m);
  const key: string = listed.find((it) => it.stage === "end").key;
  assertEquals((await cache("unpin", key.slice(0, 12))).code, 0);
  assertEquals((await cache("ls")).stdout.includes("pinned"), false);
  assertMatch((await cache("du")).stdout, /contents of 2 results/);
  assertMatch(
    (await cache("gc", "--cache-limit", "1B")).stdout,
    /^0 results removed, .* left, above the limit; results are kept that output folders show \(2\), that the latest runs used \(2\) or that are pinned \(0\)$/m,
  );
  assertMatch((await cache("verify")).stdout, /^\d+ files read, 0 damaged$/m);
});

Deno.test("cache names the result or the action that does not exist", async () => {
  using project = new CliProject(PIPELINE);
  assertEquals((await project.call("pipeline")).code, 0);
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [
      ["everything"],
      /^Unknown action "everything" .*; expected "ls", "du", "verify"/m,
    ],
    [["ls", "test/end"], /^Unexpected argument "test\/end"$/m],
    [
      ["ls", "--cache-limit", "1GB"],
      /^Option "--cache-limit" is for "cache gc" only$/m,
    ],
    [["pin"], /^Missing result: deno task cache pin RESULT/m],
    [["pin", "test/ned"], /no result "test\/ned"; did you mean "test\/end"\?/],
    [["pin", "0000"], /no result "0000"; run "deno task cache ls" for a list/],
  ];
  for (const [args, message] of wrong) {
    const { code, stderr } = await callHere(
      "cache",
      ...args,
      "--out",
      project.path("out"),
    );
    assertEquals(code, 2, stderr);
    assertMatch(stderr, message);
  }
});

Deno.test("cache pin suggests a result of a stage with a matrix, rather than one of a similar name, if its values are left out", async () => {
  using project = new CliProject(MATRIX);
  assertEquals((await project.call("pipeline")).code, 0);
  const { code, stderr } = await callHere(
    "cache",
    "pin",
    "test/ends",
    "--out",
    project.path("out"),
  );
  assertEquals(code, 2, stderr);
  assertMatch(
    stderr,
    /no result "test\/ends"; did you mean "test\/ends@seed=[01]"\?$/m,
  );
});

Deno.test("cache verify exits with 4 for a damaged cache, which the next run repairs", async () => {
  using project = new CliProject(PIPELINE);
  await project.call("pipeline");
  const blobs = project.path("out/cache/blobs");
  const folder = [...Deno.readDirSync(blobs)][0]!.name;
  const file = [...Deno.readDirSync(`${blobs}/${folder}`)][0]!.name;
  const path = `${blobs}/${folder}/${file}`;
  Deno.chmodSync(path, 0o644);
  Deno.writeTextFileSync(path, "damaged");
  const { code, stdout } = await callHere(
    "cache",
    "verify",
    "--out",
    project.path("out"),
  );
  assertEquals(code, 4);
  assertMatch(stdout, /^damaged, removed: .*blobs/m);
  assertEquals((await project.call("pipeline")).code, 0);
});

Deno.test("cache pin protects the result that a stage shows, which may be older than others or another pipeline's", async () => {
  using project = new CliProject(`name: test
params: { text: old }
stages:
  make: { task: make, with: { text: "\${params.text}" } }
`);
  for (const text of ["old", "new", "old"]) {
    assertEquals(
      (await project.call("pipeline", "-S", `text=${text}`)).code,
      0,
    );
  }
  assertEquals((await project.call("pipeline", "--name", "kept")).code, 0);
  const cache = (...args: string[]) =>
    callHere("cache", ...args, "--out", project.path("out"));
  const [, old] = (await cache("ls", "--json")).json();
  for (const name of ["test/make", "test@kept/make"]) {
    const { code, stdout, stderr } = await cache("pin", name, "--json");
    assertEquals(code, 0, stderr);
    assertEquals(JSON.parse(stdout).key, old.key);
  }
});
