import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "node:path";
import { fetchFiles } from "../../lib/hub/fetch_files.ts";
import { sha256 } from "./local_hub.ts";
import {
  assertRemedied,
  assertRight,
  COMMIT,
  model,
  repositoryIn,
  request,
  retry,
  weights,
  weightsIn,
  withHub,
} from "./tiny_repository.ts";

const snapshotIn = (cache: string) =>
  join(repositoryIn(cache), "snapshots", COMMIT, "model.safetensors");

const wrong = weights.with(70_000, weights[70_000]! ^ 1);

/** Ways in which a cache has damaged weights, by who made it and how. */
const DAMAGES: Record<string, (cache: string) => Promise<void>> = {
  "in a blob of this program": async (cache) => {
    await Deno.writeFile(weightsIn(cache), wrong);
  },
  "in a snapshot that is a copy": async (cache) => {
    await Deno.remove(snapshotIn(cache));
    await Deno.writeFile(snapshotIn(cache), wrong);
  },
  "in a blob that other tools link to": async (cache) => {
    await Deno.remove(snapshotIn(cache));
    await Deno.remove(join(repositoryIn(cache), ".verified"), {
      recursive: true,
    });
    await Deno.symlink(
      `../../blobs/${sha256(weights)}`,
      snapshotIn(cache),
    );
    await Deno.writeFile(weightsIn(cache), wrong);
  },
  "in a blob without a snapshot": async (cache) => {
    await Deno.remove(snapshotIn(cache));
    await Deno.writeFile(weightsIn(cache), wrong);
  },
  "as a truncated blob": async (cache) => {
    await Deno.truncate(weightsIn(cache), 1000);
  },
};

for (const [where, damage] of Object.entries(DAMAGES)) {
  Deno.test(
    `fetchFiles() replaces weights that are damaged ${where}, and fetches nothing else`,
    withHub([model], async (hub, settings) => {
      const log: string[] = [];
      const options = {
        settings,
        retry,
        log: (line: string) => void log.push(line),
      };
      await fetchFiles(request, options);
      await damage(settings.cache);
      const before = hub.contents.length;
      const { files } = await fetchFiles(request, options);
      await assertRight(files);
      const again = where.includes("copy") ? 0 : 1;
      assertEquals(hub.contents.length, before + again);
      assertEquals(
        sha256(await Deno.readFile(weightsIn(settings.cache))),
        sha256(weights),
      );
      if (!where.includes("without")) {
        assertEquals(log, [
          `"model.safetensors" of "org/tiny" in the hub's cache is damaged; replacing it`,
        ]);
      }
    }),
  );
}

Deno.test(
  "fetchFiles() refuses a damaged file when it works offline",
  withHub([model], async (_hub, settings) => {
    await fetchFiles(request, { settings, retry });
    await Deno.writeFile(weightsIn(settings.cache), wrong);
    await assertRemedied(
      () =>
        fetchFiles(request, {
          settings: { ...settings, offline: true },
          retry,
        }),
      /"model.safetensors" of "org\/tiny" .* does not match its hash/,
      /Unset HF_HUB_OFFLINE/,
    );
  }),
);

Deno.test(
  "fetchFiles() asks the hub for the hash of a file that the cache has none of, and says so offline",
  withHub([model], async (hub, settings) => {
    // As other tools leave it where there are no symbolic links.
    await fetchFiles(request, { settings, retry });
    const own = repositoryIn(settings.cache);
    await Deno.remove(join(own, ".verified"), { recursive: true });
    await Deno.remove(join(own, "blobs"), { recursive: true });
    const log: string[] = [];
    const options = { retry, log: (line: string) => void log.push(line) };
    const offline = { ...settings, offline: true };
    await assertRight(
      (await fetchFiles(request, { ...options, settings: offline })).files,
    );
    assertEquals(log.length, 2);
    assertMatch(log[1]!, /"model.safetensors" .* is not verified/);
    const before = hub.contents.length;
    await assertRight(
      (await fetchFiles(request, { ...options, settings })).files,
    );
    assertEquals(hub.contents.length, before);
    await Deno.writeFile(snapshotIn(settings.cache), wrong);
    await assertRight(
      (await fetchFiles(request, { ...options, settings })).files,
    );
    assertEquals(hub.contents.length, before + 1);
  }),
);

Deno.test({
  name: "fetchFiles() verifies the files of a cache that it cannot write to",
  // Only root can mount.
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
  fn: withHub([model], async (hub, settings) => {
    await fetchFiles(request, { settings, retry });
    const mount = async (...args: string[]) => {
      const { success } = await new Deno.Command("mount", { args }).output();
      assert(success);
    };
    const cache = join(dirname(settings.cache), `${crypto.randomUUID()}`);
    await Deno.mkdir(cache);
    await mount("--bind", settings.cache, cache);
    try {
      await mount("-o", "remount,bind,ro", cache);
      const before = hub.seen.length;
      const readOnly = { settings: { ...settings, cache }, retry };
      await assertRight((await fetchFiles(request, readOnly)).files);
      assertEquals(hub.seen.length, before);
      await Deno.writeFile(weightsIn(settings.cache), wrong);
      await assertRemedied(
        () => fetchFiles(request, readOnly),
        /HF_HUB_CACHE/,
      );
    } finally {
      await new Deno.Command("umount", { args: [cache] }).output();
      await Deno.remove(cache);
    }
  }),
});
