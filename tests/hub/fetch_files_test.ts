import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { fetchFiles } from "../../lib/hub/fetch_files.ts";
import { withFolder } from "../tasks/run_task.ts";
import { cutOff, gitHash, LocalHub, sha256 } from "./local_hub.ts";
import {
  assertRemedied,
  assertRight,
  COMMIT,
  config,
  model,
  repositoryIn,
  request,
  retry,
  weights,
  weightsIn,
  withHub,
} from "./tiny_repository.ts";

Deno.test(
  "fetchFiles() fills the cache in the layout of Hugging Face's tools",
  withHub([model], async (_hub, settings) => {
    const { files, commit } = await fetchFiles(request, { settings, retry });
    await assertRight(files);
    assertEquals(commit, COMMIT);
    const own = repositoryIn(settings.cache);
    assertEquals(await Deno.readTextFile(join(own, "refs/main")), COMMIT);
    assertEquals(
      new Set([...Deno.readDirSync(join(own, "blobs"))].map((x) => x.name)),
      new Set([gitHash(config), sha256(weights)]),
    );
    assertEquals(
      files.get("config.json"),
      join(own, "snapshots", COMMIT, "config.json"),
    );
    await Deno.stat(join(own, ".no_exist", COMMIT, "vocab.txt"));
  }),
);

Deno.test(
  "fetchFiles() does not use the network when the cache has all files, by branch or by commit",
  withHub([model], async (hub, settings) => {
    await fetchFiles(request, { settings, retry });
    const before = hub.seen.length;
    for (const revision of ["main", COMMIT]) {
      const again = { ...request, revision };
      const { files } = await fetchFiles(again, { settings, retry });
      await assertRight(files);
    }
    assertEquals(hub.seen.length, before);
  }),
);

Deno.test(
  "fetchFiles() stays at the commit of a branch that moves on the hub, and says so",
  withHub([model], async (_hub, settings) => {
    const first = await fetchFiles({ ...request, required: ["config.json"] }, {
      settings,
      retry,
    });
    assertEquals(
      first.title,
      `org/tiny at commit ${COMMIT}, where "main" was when it was first fetched; later runs stay at it`,
    );
    const moved = {
      ...model,
      commit: "f".repeat(40),
      files: new Map([["config.json", weights], ["model.safetensors", config]]),
    };
    await using later = new LocalHub([moved, { ...model, branch: "old" }]);
    const { files, commit, title } = await fetchFiles(request, {
      settings: { ...settings, endpoint: later.endpoint },
      retry,
    });
    await assertRight(files);
    assertEquals(commit, COMMIT);
    assertMatch(title, /where "main" was when it was first fetched/);
    // The history was rewritten, and has the commit no longer.
    await using rewritten = new LocalHub([moved]);
    await Deno.remove(files.get("model.safetensors")!);
    await Deno.remove(weightsIn(settings.cache));
    await assertRemedied(
      () =>
        fetchFiles(request, {
          settings: { ...settings, endpoint: rewritten.endpoint },
          retry,
        }),
      /no commit 01234567/,
      /hf cache rm model\/org\/tiny/,
    );
  }),
);

Deno.test(
  "fetchFiles() takes a file that other tools have cached, and fetches only the rest",
  withHub([model], async (hub, settings) => {
    const own = repositoryIn(settings.cache);
    for (const folder of ["refs", "blobs", `snapshots/${COMMIT}`]) {
      await Deno.mkdir(join(own, folder), { recursive: true });
    }
    await Deno.writeTextFile(join(own, "refs/main"), COMMIT);
    await Deno.writeFile(weightsIn(settings.cache), weights);
    await Deno.symlink(
      `../../blobs/${sha256(weights)}`,
      join(own, "snapshots", COMMIT, "model.safetensors"),
    );
    const { files } = await fetchFiles(request, { settings, retry });
    await assertRight(files);
    assertEquals(hub.contents.length, 0);
  }),
);

Deno.test(
  "fetchFiles() reports the bytes of all files that are present, up to the end",
  withHub([model], async (_hub, settings) => {
    const reports: [number, number][] = [];
    await fetchFiles(request, {
      settings,
      retry,
      onProgress: (bytes, total) => reports.push([bytes, total]),
    });
    const size = weights.length + config.length;
    assert(reports.every(([, total]) => total === size));
    assertEquals(
      reports.map(([b]) => b),
      reports.map(([b]) => b).toSorted((a, b) => a - b),
    );
    assertEquals(reports.at(-1)![0], size);
  }),
);

Deno.test(
  "fetchFiles() sends its token to the hub, but not to the host of a redirect",
  withHub([{ ...model, token: "hf_right" }], async (hub, settings) => {
    const token = "hf_right";
    const { files } = await fetchFiles(request, {
      settings: { ...settings, token },
      retry,
    });
    await assertRight(files);
    const withToken = hub.seen.filter((x) => x.authorization !== null);
    assert(withToken.length > 0);
    assert(withToken.every(({ host }) => host === "hub"));
  }),
);

Deno.test(
  "fetchFiles() resumes where a connection broke off",
  withHub([model], async (hub, settings) => {
    let broken = 0;
    hub.breakWith(({ host, range }, answer) =>
      host === "cdn" && range !== "bytes=0-0" && broken++ < 2
        ? cutOff(answer(), 100_000)
        : undefined
    );
    const { files } = await fetchFiles(request, { settings, retry });
    await assertRight(files);
    assertEquals(
      hub.contents.map(({ range }) => range).filter((x) => x !== "bytes=0-0"),
      [null, "bytes=100000-299999", "bytes=200000-299999"],
    );
  }),
);

Deno.test(
  "fetchFiles() resumes where an earlier process stopped",
  withHub([model], async (hub, settings) => {
    hub.breakWith(({ host, range }, answer) =>
      host === "cdn" && range !== "bytes=0-0"
        ? cutOff(answer(), range ? 0 : 120_000)
        : undefined
    );
    await assertRemedied(
      () =>
        fetchFiles(request, {
          settings,
          retry: { ...retry, retries: 1 },
        }),
      /"model.safetensors" of "org\/tiny" stopped after 120000 of 300000/,
      /to resume the download/,
    );
    const partial = `${weightsIn(settings.cache)}.incomplete`;
    assertEquals((await Deno.stat(partial)).size, 120_000);
    hub.breakWith(() => undefined);
    const before = hub.contents.length;
    const { files } = await fetchFiles(request, { settings, retry });
    await assertRight(files);
    assertEquals(hub.contents.at(-1)!.range, "bytes=120000-299999");
    assert(hub.contents.length - before <= 2);
  }),
);

Deno.test(
  "fetchFiles() keeps what has arrived when it is interrupted, and stops at once",
  withHub([model], async (hub, settings) => {
    const interrupt = new AbortController();
    hub.breakWith(({ host, range }, answer) => {
      if (host === "hub" || range === "bytes=0-0") return undefined;
      const { headers } = answer();
      const body = new ReadableStream({
        start: (controller) => controller.enqueue(weights.slice(0, 50_000)),
      });
      return new Response(body, { headers });
    });
    const started = performance.now();
    await assertRejects(
      () =>
        fetchFiles(request, {
          settings,
          retry: { ...retry, idleTimeout: 60_000 },
          signal: interrupt.signal,
          onProgress: (bytes) => {
            if (bytes > 50_000) {
              interrupt.abort(new Error("stopped by the user"));
            }
          },
        }),
      Error,
      "stopped by the user",
    );
    assert(performance.now() - started < 5000);
    const partial = `${weightsIn(settings.cache)}.incomplete`;
    assertEquals((await Deno.stat(partial)).size, 50_000);
  }),
);

Deno.test(
  "fetchFiles() abandons a connection that delivers no data, and tries again",
  withHub([model], async (hub, settings) => {
    let silent = 0;
    hub.breakWith(({ path, range }) => {
      if (path.includes("paths-info") && silent++ === 0) {
        return new Promise((resolve) =>
          setTimeout(() => resolve(new Response()), 500)
        );
      }
      if (path.length === 65 && range === null && silent++ === 1) {
        return new Response(new ReadableStream({ start() {} }));
      }
    });
    const { files } = await fetchFiles(request, {
      settings,
      retry: { ...retry, idleTimeout: 200 },
    });
    await assertRight(files);
    assert(silent >= 2);
  }),
);

Deno.test(
  "fetchFiles() rejects content that differs from the announced one, and discards it",
  withHub([model], async (hub, settings) => {
    for (
      const wrong of [
        weights.with(7, 1),
        weights.slice(1),
        new Uint8Array([...weights, 0]),
      ]
    ) {
      hub.breakWith(({ host, range }) =>
        host === "cdn" && range === null ? new Response(wrong) : undefined
      );
      const short = wrong.length < weights.length;
      await assertRemedied(
        () =>
          fetchFiles(request, {
            settings,
            retry: { ...retry, retries: 0 },
          }),
        short
          ? /stopped after 299999 of 300000/
          : /does not match the size and hash/,
      );
      await assertRejects(() => Deno.stat(weightsIn(settings.cache)));
      if (short) await Deno.remove(`${weightsIn(settings.cache)}.incomplete`);
    }
    const blobs = Deno.readDirSync(join(repositoryIn(settings.cache), "blobs"));
    assertEquals([...blobs].map(({ name }) => name), [gitHash(config)]);
  }),
);

Deno.test(
  "fetchFiles() starts over once if the partial download of an earlier attempt belongs to another file",
  withHub([model], async (_hub, settings) => {
    const blob = weightsIn(settings.cache);
    await Deno.mkdir(join(blob, ".."), { recursive: true });
    for (const left of [new Uint8Array(1000), new Uint8Array(400_000)]) {
      await Deno.writeFile(`${blob}.incomplete`, left);
      const { files } = await fetchFiles(request, { settings, retry });
      await assertRight(files);
      await Deno.remove(repositoryIn(settings.cache), { recursive: true });
      await Deno.mkdir(join(blob, ".."), { recursive: true });
    }
  }),
);

Deno.test(
  "fetchFiles() starts over when a server ignores ranges, in the partial download of an earlier attempt and after a connection broke off",
  withHub([model], async (hub, settings) => {
    const blob = weightsIn(settings.cache);
    for (const left of [1000, 0]) {
      await Deno.mkdir(join(blob, ".."), { recursive: true });
      await Deno.writeFile(`${blob}.incomplete`, weights.slice(0, left));
      let answers = 0;
      hub.breakWith(({ host, range }) => {
        if (host !== "cdn" || range === "bytes=0-0") return undefined;
        const whole = new Response(weights);
        return answers++ === 0 ? cutOff(whole, 100_000) : whole;
      });
      const { files } = await fetchFiles(request, { settings, retry });
      await assertRight(files);
      assertEquals(answers, 2);
      await Deno.remove(repositoryIn(settings.cache), { recursive: true });
    }
  }),
);

Deno.test(
  "fetchFiles() gives up when a server ignores ranges and always breaks off",
  withHub([model], async (hub, settings) => {
    let answers = 0;
    hub.breakWith(({ host, range }) =>
      host === "cdn" && range !== "bytes=0-0"
        ? (answers++, cutOff(new Response(weights), 100_000))
        : undefined
    );
    await assertRemedied(
      () => fetchFiles(request, { settings, retry }),
      /stopped after 100000 of 300000/,
    );
    assertEquals(answers, 1 + retry.retries);
  }),
);

Deno.test(
  "fetchFiles() fetches files whose names have a meaning in addresses",
  withHub(
    [{
      ...model,
      files: new Map([
        ["a#b/c?d=1&e%20.json", config],
        ["ä +;@$,:=.safetensors", weights],
      ]),
    }],
    async (hub, settings) => {
      const required = [...hub.repositories[0]!.files.keys()];
      const { files } = await fetchFiles({ ...request, required }, {
        settings,
        retry,
      });
      for (const [path, bytes] of hub.repositories[0]!.files) {
        assertEquals(
          sha256(await Deno.readFile(files.get(path)!)),
          sha256(bytes),
        );
      }
    },
  ),
);

Deno.test(
  "fetchFiles() waits as long as a busy hub asks it to, and says so",
  withHub([model], async (hub, settings) => {
    let refusals = 0;
    hub.breakWith(({ path }) =>
      path.includes("/revision/") && refusals++ < 2
        ? new Response("slow down", {
          status: refusals === 1 ? 429 : 503,
          headers: refusals === 1 ? { "retry-after": "1" } : {},
        })
        : undefined
    );
    const said: string[] = [];
    const log = (line: string) => void said.push(line);
    const started = performance.now();
    await fetchFiles(request, { settings, retry, log });
    const waited = performance.now() - started;
    assert(waited > 1000, `${waited} ms`);
    assertEquals(refusals, 3);
    const tries = said.flatMap((it) =>
      /^The hub is busy: .* (4|5).*; try (\d) of (\d) in 1 s$/.exec(it)?.slice(
        1,
      ) ?? []
    );
    const all = String(retry.retries + 1);
    assertEquals(tries, ["4", "2", all, "5", "3", all]);
  }),
);

Deno.test(
  "fetchFiles() gives up on a hub that stays busy, or asks for a very long wait",
  withHub([model], async (hub, settings) => {
    for (const headers of [{}, { "retry-after": "86400" }]) {
      const before = hub.seen.length;
      hub.breakWith(() => new Response("slow down", { status: 429, headers }));
      await assertRemedied(
        () => fetchFiles(request, { settings, retry }),
        /status 429/,
        /Try again later/,
      );
      const asked = hub.seen.length - before;
      assertEquals(asked, "retry-after" in headers ? 1 : 1 + retry.retries);
    }
  }),
);

Deno.test(
  "fetchFiles() names the remedy for a repository that is private, gated or missing",
  withHub([
    { ...model, token: "hf_right" },
    { ...model, id: "models/org/gated", gated: true },
  ], async (_hub, settings) => {
    const fetch = (name: string, token?: string) =>
      fetchFiles({ ...request, repository: { type: "model", name } }, {
        settings: { ...settings, ...(token && { token }) },
        retry,
      });
    await assertRemedied(
      () => fetch("org/tiny"),
      /401/,
      /set HF_TOKEN/,
    );
    await assertRemedied(
      () => fetch("org/none", "hf_wrong"),
      /that HF_TOKEN has access/,
    );
    await assertRemedied(() => fetch("org/gated"), /403/);
  }),
);

Deno.test(
  "fetchFiles() names the revision or the file that a repository lacks, and says how to make the files of a model",
  withHub([model], async (_hub, settings) => {
    await assertRemedied(
      () => fetchFiles({ ...request, revision: "v2" }, { settings, retry }),
      /no model "org\/tiny" with a revision "v2"/,
    );
    await assertRemedied(
      () =>
        fetchFiles({ ...request, revision: COMMIT.replace("0", "f") }, {
          settings,
          retry,
        }),
      /no commit f123/,
    );
    await assertRemedied(
      () =>
        fetchFiles({ ...request, required: ["tokenizer.json"] }, {
          settings,
          retry,
        }),
      /"org\/tiny" has no "tokenizer.json".*\n.*AutoTokenizer\.from_pretrained\("org\/tiny"\)\.save_pretrained.* written in Python/,
    );
    await assertRemedied(
      () =>
        fetchFiles({
          ...request,
          required: ["config.json", "weights", "tokens"],
        }, { settings, retry }),
      /"org\/tiny" has no "weights", "tokens".*\n.*AutoModel\.from_pretrained\("org\/tiny"\)\.save_pretrained/,
    );
  }),
);

Deno.test(
  "fetchFiles() rejects an invalid commit and invalid hashes before using them in a path",
  withHub([model], async (hub, settings) => {
    hub.breakWith(({ path }) =>
      path.includes("/revision/")
        ? Response.json({ sha: "../../../../etc" })
        : undefined
    );
    await assertRemedied(
      () => fetchFiles(request, { settings, retry }),
      /gives the invalid commit "\.\.\/\.\.\/\.\.\/\.\.\/etc"/,
    );
    hub.breakWith(({ path }) =>
      path.includes("/paths-info/")
        ? Response.json(request.required.map((path) => ({
          type: "file",
          path,
          size: 1,
          oid: "../x",
        })))
        : undefined
    );
    await assertRemedied(
      () => fetchFiles(request, { settings, retry }),
      /gives the invalid hash "\.\.\/x" for "config.json"/,
    );
  }),
);

Deno.test("fetchFiles() says that the hub cannot be reached, and how to work without it", () =>
  withFolder(async (cache) => {
    const endpoint = "http://127.0.0.1:9";
    const settings = { endpoint, cache, offline: false };
    await assertRemedied(
      () =>
        fetchFiles(request, {
          settings,
          retry: { ...retry, retries: 1 },
        }),
      /127\.0\.0\.1:9/,
      /HF_ENDPOINT/,
      /local folder/,
    );
  }));

Deno.test(
  "fetchFiles() names a cache that it cannot write to",
  withHub([model], async (_hub, settings) => {
    const cache = join(settings.cache, "file");
    await Deno.writeTextFile(cache, "in the way");
    await assertRemedied(
      () => fetchFiles(request, { settings: { ...settings, cache }, retry }),
      /Cannot write to .*file"/,
      /HF_HUB_CACHE/,
    );
  }),
);

Deno.test(
  "fetchFiles() works offline from a complete cache, and names the file that another lacks",
  withHub([model], async (hub, settings) => {
    const offline = { settings: { ...settings, offline: true }, retry };
    await assertRemedied(
      () => fetchFiles(request, offline),
      /"config.json" of "org\/tiny", revision "main", is not in the hub's cache/,
      /hf download org\/tiny/,
    );
    assertEquals(hub.seen.length, 0);
    await fetchFiles(request, { settings, retry });
    const before = hub.seen.length;
    await assertRight((await fetchFiles(request, offline)).files);
    const more = { ...request, optional: ["merges.txt"] };
    await assertRight((await fetchFiles(more, offline)).files);
    await assertRemedied(
      () => fetchFiles({ ...request, required: ["tokenizer.json"] }, offline),
      /"tokenizer.json"/,
    );
    assertEquals(hub.seen.length, before);
  }),
);

Deno.test(
  "fetchFiles() lets one of two processes fetch a file, and the other wait for it",
  withHub([model], async (hub, settings) => {
    hub.breakWith(async ({ host, range }, answer) => {
      if (host === "cdn" && range !== "bytes=0-0") {
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      return answer();
    });
    const code = `
      import { fetchFiles } from ${
      JSON.stringify(import.meta.resolve("../../lib/hub/fetch_files.ts"))
    };
      const { files } = await fetchFiles(${
      JSON.stringify(request)
    }, { settings: ${JSON.stringify(settings)} });
      console.log(JSON.stringify([...files]));`;
    const script = join(settings.cache, "fetch.ts");
    await Deno.writeTextFile(script, code);
    const config = join(import.meta.dirname!, "../../deno.json");
    const results = await Promise.all(
      [1, 2].map(() =>
        new Deno.Command(Deno.execPath(), {
          args: [
            "run",
            "--quiet",
            "--no-prompt",
            "--config",
            config,
            "--allow-net",
            `--allow-read=${settings.cache}`,
            `--allow-write=${settings.cache}`,
            script,
          ],
        }).output()
      ),
    );
    for (const { code, stdout, stderr } of results) {
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      await assertRight(new Map(JSON.parse(new TextDecoder().decode(stdout))));
    }
    const whole = hub.contents.filter(({ range }) => range !== "bytes=0-0");
    assertEquals(whole.length, 1);
  }),
);

Deno.test({
  name:
    "fetchFiles() says that the disk is full, and resumes when there is space",
  // Only root can mount a small disk.
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
  fn: withHub([model], async (_hub, { endpoint, cache }) => {
    const mount = async (...options: string[]) => {
      const args = ["-t", "tmpfs", "-o", ...options, "tmpfs", cache];
      const { success } = await new Deno.Command("mount", { args }).output();
      assert(success);
    };
    await mount("size=128k");
    try {
      const settings = { endpoint, cache, offline: false };
      await assertRemedied(
        () => fetchFiles(request, { settings, retry }),
        /No space left/,
        /HF_HUB_CACHE/,
      );
      await mount("remount,size=1M");
      const { files } = await fetchFiles(request, { settings, retry });
      await assertRight(files);
    } finally {
      await new Deno.Command("umount", { args: [cache] }).output();
    }
  }),
});
