import { assert, assertEquals } from "@std/assert";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { canonicalJson, digest } from "../../lib/files/digest.ts";
import {
  audit,
  cleanUp,
  diskUse,
  holdOff,
  keepWithin,
  listResults,
} from "../../lib/store/cleanup.ts";
import type { Manifest } from "../../lib/store/manifests.ts";
import { Store } from "../../lib/store/store.ts";
import { treeDigest } from "../../lib/store/blobs.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";

/** Commits a result of 10,000 bytes. */
async function addResult(store: Store, n: number): Promise<Manifest> {
  const listing = canonicalJson({ modules: {}, packages: {}, options: {} });
  const { blob: code } = await store.blobs.putText(listing);
  const parts = {
    code,
    params: { n },
    sources: {},
    inputs: {},
    runtimes: {},
  };
  const content = await store.blobs.putText(String(n).padEnd(10_000, "."));
  const files = [{ path: "out.txt", ...content }];
  const manifest: Manifest = {
    version: 2,
    key: await digest(canonicalJson(parts)),
    parts,
    task: "make",
    pipeline: "test",
    stage: `s${n}`,
    started: new Date(n * 1000).toISOString(),
    runtime: "deno",
    seconds: 1,
    metrics: {},
    content: await treeDigest(files),
    files,
    log: await store.blobs.putText(`log ${n}`),
  };
  store.manifests.write(manifest);
  return manifest;
}

async function filled(folder: TemporaryFolder, count: number) {
  const store = new Store(folder.join("cache"));
  const results: Manifest[] = [];
  for (let n = 1; n <= count; n++) results.push(await addResult(store, n));
  return { store, results };
}

Deno.test("cleanUp() removes the oldest results until the rest is within the limit", async () => {
  using folder = new TemporaryFolder();
  const { store, results } = await filled(folder, 5);
  const done = (await cleanUp(store, 25_000))!;
  assertEquals(done.removed, results.slice(0, 3).map(({ key }) => key));
  assert(done.left <= 25_000);
  assertEquals(diskUse(store).total, done.left);
  for (const [i, { key }] of results.entries()) {
    assertEquals((await store.lookup(key)).state, i < 3 ? "none" : "found");
  }
});

Deno.test("cleanUp() does not count links to blobs in the folder of a run", async () => {
  using folder = new TemporaryFolder();
  const { store, results } = await filled(folder, 2);
  const inputs = store.makeFolder("runs", "predict", "inputs");
  await store.blobs.linkTo(results[0]!.files[0]!.blob, `${inputs}/out.txt`);
  assertEquals((await cleanUp(store, 25_000))!.removed, []);
});

Deno.test("cleanUp() keeps pinned results and those of the latest runs", async () => {
  using folder = new TemporaryFolder();
  const { store, results } = await filled(folder, 5);
  await store.pins.set([results[0]!.key], true);
  await store.noteRun("test", [results[1]!.key]);
  await cleanUp(store, 0);
  assertEquals(
    listResults(store).map(({ stage, pinned, used }) => [stage, pinned, used]),
    [["s2", false, true], ["s1", true, false]],
  );
  for (const { key } of results.slice(0, 2)) {
    assertEquals((await store.lookup(key)).state, "found");
  }
  await store.pins.set([results[0]!.key], false);
  await cleanUp(store, 0);
  assertEquals(listResults(store).map(({ stage }) => stage), ["s2"]);
});

Deno.test("cleanUp() keeps the results that output folders show", async () => {
  using folder = new TemporaryFolder();
  const { store, results } = await filled(folder, 3);
  const [first, second, third] = results as [Manifest, Manifest, Manifest];
  await store.noteResult("test", "a", first.key);
  await store.noteResult("test", "a", second.key);
  await store.noteResult("test@name", "a", third.key);
  Deno.mkdirSync(folder.join("test/a"), { recursive: true });
  const done = (await cleanUp(store, 0))!;
  assertEquals(done.removed, [first.key, third.key]);
});

Deno.test("cleanUp() keeps the results of the last ten different runs of a pipeline", async () => {
  using folder = new TemporaryFolder();
  const { store, results } = await filled(folder, 12);
  for (const { key } of results) {
    await store.noteRun("test", [key]);
    await store.noteRun("test", [key]);
  }
  const done = (await cleanUp(store, 0))!;
  assertEquals(done.removed, results.slice(0, 2).map(({ key }) => key));
});

Deno.test("cleanUp() does nothing while a run is in progress", async () => {
  using folder = new TemporaryFolder();
  const { store } = await filled(folder, 2);
  using _live = await holdOff(store);
  assertEquals(await cleanUp(store, 0), undefined);
});

Deno.test("cleanUp() removes blobs that no result needs", async () => {
  using folder = new TemporaryFolder();
  const { store } = await filled(folder, 1);
  const { blob } = await store.blobs.putText("left by a run that was killed");
  await cleanUp(store, 1e9);
  assertEquals(await store.blobs.text(blob), undefined);
  assertEquals(listResults(store).length, 1);
  assertEquals((await store.lookup(listResults(store)[0]!.key)).state, "found");
});

/**
 * Adds a checkpoint of 10,000 bytes, last written so many days ago in a folder
 * that is much older.
 */
async function addCheckpoint(
  store: Store,
  name: string,
  days: number,
): Promise<string> {
  const key = await digest(name);
  const folder = store.makeFolder("checkpoints", key);
  const file = `${store.makeFolder("checkpoints", key, "1")}/state`;
  Deno.writeTextFileSync(file, ".".repeat(10_000));
  const written = new Date(Date.now() - days * 24 * 60 * 60 * 1000);
  Deno.utimeSync(file, written, written);
  for (const path of [`${folder}/1`, folder]) Deno.utimeSync(path, 0, 0);
  return folder;
}

Deno.test("cleanUp() counts checkpoints towards the limit, and removes the oldest first", async () => {
  using folder = new TemporaryFolder();
  const { store, results } = await filled(folder, 2);
  const older = await addCheckpoint(store, "a", 3);
  const newer = await addCheckpoint(store, "b", 2);
  const done = (await cleanUp(store, 25_000))!;
  assertEquals(done.removed, results.map(({ key }) => key));
  assert(done.left > 20_000 && done.left < 25_000);
  await cleanUp(store, 15_000);
  assertEquals([older, newer].map(existsSync), [false, true]);
  await cleanUp(store, 0);
  assertEquals(existsSync(newer), false);
});

Deno.test("cleanUp() removes checkpoints 14 days after their last write", async () => {
  using folder = new TemporaryFolder();
  const { store } = await filled(folder, 0);
  const [live, dead] = await Promise.all(
    [13, 15].map((days) => addCheckpoint(store, `of ${days} days`, days)),
  );
  await cleanUp(store, 1e9);
  assertEquals([live!, dead!].map(existsSync), [true, false]);
});

Deno.test("cleanUp() counts everything in the cache towards the limit, and removes logs of failures", async () => {
  using folder = new TemporaryFolder();
  const { store } = await filled(folder, 1);
  const log = `${store.makeFolder("failures", "test")}/loud.jsonl`;
  Deno.writeTextFileSync(log, ".".repeat(50_000));
  Deno.utimeSync(log, 0, 0);
  const key = await digest("loud");
  await store.histories.ended("test", "loud", {
    state: "failed",
    key,
    message: "failed",
    ended: "",
    log,
  });
  const foreign = folder.write("cache/failures/test/notes.jsonl", "mine");
  await keepWithin(store, 40_000);
  assertEquals([existsSync(log), existsSync(foreign)], [false, true]);
  assertEquals(listResults(store).length, 1, "it was newer than the log");
  await keepWithin(store, 10_000);
  assertEquals(listResults(store).length, 0);
});

Deno.test("audit() keeps clean-ups away from the files that it reads", async () => {
  using folder = new TemporaryFolder();
  const store = new Store(folder.path);
  await addResult(store, 1);
  const auditing = audit(store);
  assertEquals(await cleanUp(store, 0), undefined);
  assertEquals((await auditing).damaged, []);
});

Deno.test("audit() finds and removes damaged files whose metadata show no change", async () => {
  using folder = new TemporaryFolder();
  const { store, results } = await filled(folder, 3);
  const whole = await audit(store);
  assertEquals([whole.damaged, whole.incomplete], [[], []]);
  const path = store.blobs.path(results[0]!.files[0]!.blob);
  const past = new Date(0);
  Deno.chmodSync(path, 0o644);
  Deno.writeTextFileSync(path, "2".padEnd(10_000, "."));
  Deno.utimeSync(path, past, past);
  Deno.truncateSync(store.manifests.path(results[1]!.key), 10);
  const found = await audit(store);
  assertEquals(found.blobs, whole.blobs);
  assertEquals(found.damaged, [
    path,
    store.manifests.path(results[1]!.key),
  ]);
  assertEquals(found.incomplete, ["test s1"]);
  assertEquals((await audit(store)).damaged, []);
});

Deno.test("cleanUp() removes what killed processes left half written, and entries, but no file that may still be written", async () => {
  using folder = new TemporaryFolder();
  const { store } = await filled(folder, 1);
  const suffix = "123-0123abcd-0";
  const left = [
    `memo.json.${suffix}.tmp`,
    `blobs/new.${suffix}.tmp`,
    `manifests/ab/x.json.${suffix}.tmp`,
    `stages/p/s.json.${suffix}.tmp`,
  ];
  const kept = ["notes.tmp", `graphs/now.json.${suffix}.tmp`];
  for (const path of [...left, ...kept]) {
    const file = store.path(path);
    Deno.mkdirSync(dirname(file), { recursive: true });
    Deno.writeTextFileSync(file, "");
    const hours = path.startsWith("graphs") ? 0 : 2;
    const time = new Date(Date.now() - hours * 3_600_000);
    Deno.utimeSync(file, time, time);
  }
  await cleanUp(store, 1e9);
  assertEquals(left.filter((path) => existsSync(store.path(path))), []);
  assertEquals(kept.filter((path) => !existsSync(store.path(path))), []);
});
