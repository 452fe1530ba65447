import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { existsSync } from "node:fs";
import type { Manifest } from "../../lib/store/manifests.ts";
import { listFiles, treeDigest } from "../../lib/store/blobs.ts";
import { entriesOf } from "../../lib/files/files.ts";
import { sign } from "../../lib/remote/signature.ts";
import type { Store } from "../../lib/store/store.ts";
import { Caches, FaultyServer, makeResult, offerAll, TEXTS } from "./made.ts";
import { withEnvironment } from "../environment.ts";
import { until } from "../until.ts";

/** Fails unless a cache has all of a result. */
async function assertHas(store: Store, manifest: Manifest): Promise<void> {
  assertEquals(await store.lookup(manifest.key), { state: "found", manifest });
}

/**
 * Two caches and a key; the first cache has results, which `url` has as well.
 */
async function shared(caches: Caches, url: string, names = ["a"]) {
  const [from, to] = [caches.store("from"), caches.store("to")];
  const key = await caches.key("key");
  const manifests: Manifest[] = [];
  for (const name of names) {
    manifests.push(await makeResult(from, name, TEXTS));
  }
  await offerAll(await caches.remote(url, from, { key }), ...manifests);
  return { from, to, key, manifests, manifest: manifests[0]! };
}

Deno.test("a result travels through a folder, of which only the manifest is read until its files are needed", async () => {
  using caches = new Caches();
  const url = `file://${caches.join("remote")}`;
  const { to, key, manifest } = await shared(caches, url);
  const remote = await caches.remote(url, to, { trusted: [key.signer] });
  assertEquals((await remote.find(manifest.key))?.manifest, manifest);
  assertEquals(entriesOf(caches.join("to")), []);
  assert(await (await remote.find(manifest.key))!.fetch());
  await assertHas(to, manifest);
  const { asked, fetched, fetchedBytes } = remote.stats;
  assertEquals([asked, fetched], [1, 1]);
  // The zeros are compressed, the random bytes are not.
  assert(fetchedBytes > 50_000 && fetchedBytes < 55_000, `${fetchedBytes}`);
  assertEquals(caches.said, []);
});

Deno.test("a result travels through a server, with the query and the token of its address", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(caches.join("remote"));
  await withEnvironment({ DYLORA_REMOTE_TOKEN: "t0ken" }, async () => {
    const url = `${server.url}?sig=s3cret`;
    const { to, key, manifest } = await shared(caches, url);
    const remote = await caches.remote(url, to, { trusted: [key.signer] });
    assertEquals((await remote.find(manifest.key))?.manifest, manifest);
    assert(await (await remote.find(manifest.key))!.fetch());
    await assertHas(to, manifest);
  });
  assert(
    server.headers.every((it) => it.get("authorization") === "Bearer t0ken"),
  );
  assertEquals(caches.said, []);
});

Deno.test("results of keys that are not trusted are not used, nor unsigned ones", async () => {
  using caches = new Caches();
  const url = `file://${caches.join("remote")}`;
  const { to, key, manifest } = await shared(caches, url);
  const { signer } = await caches.key("stranger");
  const foreign = await caches.remote(url, to, { trusted: [signer] });
  assertEquals((await foreign.find(manifest.key))?.manifest, undefined);
  assertEquals(caches.said, []);
  const folder = caches.join("remote/manifests", manifest.key);
  const signed = Deno.readTextFileSync(`${folder}/${key.signer}.json`);
  const { signature: _, ...unsigned } = JSON.parse(signed);
  for (
    const [text, fault] of [
      [signed, "is not signed by"],
      [JSON.stringify(unsigned), "is not signed;"],
    ] as const
  ) {
    Deno.writeTextFileSync(`${folder}/${signer}.json`, text);
    caches.said.length = 0;
    const remote = await caches.remote(url, to, { trusted: [signer] });
    assertEquals((await remote.find(manifest.key))?.manifest, undefined);
    assertEquals(caches.said.length, 1);
    assert(caches.said[0]!.includes(fault), caches.said[0]);
  }
});

Deno.test("list() and removeBefore() take malformed manifests of strangers for none", async () => {
  using caches = new Caches();
  const url = `file://${caches.join("remote")}`;
  const { to, manifest } = await shared(caches, url);
  const stranger = await caches.key("stranger");
  const wrong = { ...manifest, started: "yesterday", stage: "a\x1b[2J\nb" };
  for (const broken of [wrong, { version: 2 }, null]) {
    Deno.writeTextFileSync(
      caches.join("remote/manifests", manifest.key, `${stranger.signer}.json`),
      await sign({ manifest: broken as Manifest, gzip: [] }, stranger),
    );
    const remote = await caches.remote(url, to, { trusted: [] });
    assertEquals((await remote.list()).map((it) => it.manifest), [manifest]);
    const removed = await remote.removeBefore(0);
    assertEquals(removed, { results: 0, blobs: 0 });
  }
});

Deno.test("the first result of a key that a writer stores stays, beside those of other writers", async () => {
  using caches = new Caches();
  const url = `file://${caches.join("remote")}`;
  const { to, from, key, manifest } = await shared(caches, url);
  const other = await makeResult(caches.store("other"), "a", { f: "other" });
  assertEquals(other.key, manifest.key);
  await offerAll(
    await caches.remote(url, caches.store("other"), { key }),
    other,
  );
  const stranger = await caches.key("stranger");
  await offerAll(
    await caches.remote(url, caches.store("other"), { key: stranger }),
    other,
  );
  assertEquals(
    listFiles(caches.join("remote/manifests", manifest.key), "refuse"),
    [`${key.signer}.json`, `${stranger.signer}.json`].sort(),
  );
  const trusted = [key.signer];
  const remote = await caches.remote(url, to, { trusted });
  assertEquals((await remote.find(manifest.key))?.manifest, manifest);
  const same = await caches.remote(url, from, { key });
  await offerAll(same, manifest);
  assertEquals(same.stats.stored, 0);
  assertEquals(same.stats.storedBytes, 0);
});

/** Faults of a server, and what is said of each. */
const FAULTS: Readonly<
  Record<
    string,
    [
      fault: (request: Request, path: string) => Response | Promise<Response>,
      said: RegExp,
    ]
  >
> = {
  "an error": [() => new Response("oh", { status: 500 }), /answers 500 to GET/],
  "expired credentials": [
    () =>
      new Response("<Error><Code>ExpiredToken</Code></Error>", { status: 403 }),
    /answers 403 \(ExpiredToken\) to GET/,
  ],
  "a clock that is off": [
    () =>
      new Response("<Error><Code>RequestTimeTooSkewed</Code></Error>", {
        status: 403,
      }),
    /answers 403 \(RequestTimeTooSkewed\) to GET/,
  ],
  "a circle of redirects": [
    ({ url }) =>
      new Response(null, { status: 302, headers: { location: url } }),
    /cannot be reached \(.*redirect/i,
  ],
  "no answer": [
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      return new Response("late");
    },
    /does not answer in time/,
  ],
  "an answer that drips": [
    () =>
      new Response(ReadableStream.from((async function* () {
        for (let i = 0; i < 20; i++) {
          yield new Uint8Array([32]);
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      })())),
    /does not answer in time/,
  ],
  "a connection that breaks": [
    () =>
      new Response(ReadableStream.from((async function* () {
        yield new Uint8Array(5000);
        await new Promise((resolve) => setTimeout(resolve, 20));
        throw new Error("broken");
      })())),
    /cannot be reached \(/,
  ],
  "a page for people": [
    () => new Response("<html>Please log in</html>"),
    /Refused a result of the remote REMOTE: "manifests\/\S+" is damaged/,
  ],
};

for (const [name, [fault, said]] of Object.entries(FAULTS)) {
  Deno.test(`find() finds nothing at a server with ${name}, and says so once`, async () => {
    using caches = new Caches();
    await using server = new FaultyServer(caches.join("remote"));
    const { to, key, manifests } = await shared(caches, server.url, ["a", "b"]);
    server.fault = fault;
    const remote = await caches.remote(server.url, to, {
      trusted: [key.signer],
      // Other faults are found however slow this machine is.
      stallTimeout: said.source.includes("in time") ? 150 : 10_000,
    });
    for (const manifest of manifests) {
      assertEquals((await remote.find(manifest.key))?.manifest, undefined);
    }
    assertEquals(caches.said.length, 1);
    assertMatch(caches.said[0]!, said);
  });
}

Deno.test("a remote folder with pipes, folders and errors in place of files turns the remote off, and holds nothing", async () => {
  using caches = new Caches();
  const folder = caches.join("remote");
  const { to, key, manifest } = await shared(caches, `file://${folder}`);
  const path = `${folder}/manifests/${manifest.key}/${key.signer}.json`;
  const [blob] = listFiles(`${folder}/blobs`, "refuse");
  const text = Deno.readTextFileSync(path);
  for (const target of [path, `${folder}/blobs/${blob}`]) {
    for (
      const [said, ...command] of [
        [/which is not a file/, "mkfifo", target],
        [/which is not a file/, "mkdir", target],
        // Reading it from its start is an I/O error.
        [/cannot be read: .*os error 5/, "ln", "-s", "/proc/self/mem", target],
      ] as const
    ) {
      Deno.writeTextFileSync(path, text);
      Deno.removeSync(target);
      new Deno.Command(command[0], { args: command.slice(1) }).outputSync();
      caches.said.length = 0;
      const remote = await caches.remote(`file://${folder}`, to, {
        trusted: [key.signer],
      });
      const found = await remote.find(manifest.key);
      assertEquals(found === undefined, target === path);
      if (found !== undefined) {
        assertEquals(await found.fetch(), false);
      }
      await remote.end();
      assertEquals(caches.said.length, 1);
      assertMatch(caches.said[0]!, said);
      Deno.removeSync(target);
      Deno.writeTextFileSync(target, "");
    }
  }
});

Deno.test("a server whose pages list folders or files without end holds no run", async () => {
  using caches = new Caches();
  let next = 0;
  await using server = new FaultyServer(caches.join("remote"), (_, path) => {
    if (!path.endsWith("/")) return undefined;
    const names = Array.from({ length: 999 }, () => `${next++}/`);
    return new Response(names.map((it) => `<a href="${it}">`).join(""));
  });
  const { signer } = await caches.key("key");
  const store = caches.store("to");
  const remote = await caches.remote(server.url, store, { trusted: [signer] });
  assertEquals(await remote.find("0".repeat(64)), undefined);
  await remote.end();
  assert(server.requests.length < 5, `${server.requests.length}`);
  assertEquals(caches.said, []);
});

Deno.test("a server that cannot be reached is said without the secrets of its address", async () => {
  using caches = new Caches();
  const server = new FaultyServer(caches.join("remote"));
  const url = server.url.replace("//", "//user:passw0rd@");
  await server[Symbol.asyncDispose]();
  const { manifest, to, key } = await shared(caches, `${url}?sig=s3cret`);
  const remote = await caches.remote(`${url}?sig=s3cret`, to, {
    trusted: [key.signer],
  });
  assertEquals((await remote.find(manifest.key))?.manifest, undefined);
  assertEquals(caches.said.length, 2);
  for (const sentence of caches.said) {
    assertMatch(sentence, /^The remote REMOTE cannot be reached \(.+\);/);
    assert(!/passw0rd|s3cret/.test(sentence), sentence);
  }
});

Deno.test("a server that asks for a user is answered with the name of the variable, and a run is named only where there is one", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(
    caches.join("remote"),
    () => new Response("", { status: 401 }),
  );
  const trusted = ["0".repeat(64)];
  for (const continueOnFailure of [true, false]) {
    const remote = await caches.remote(server.url, caches.store("to"), {
      trusted,
      continueOnFailure,
    });
    await remote.find("0".repeat(64));
  }
  const said =
    "The remote REMOTE answers 401 to GET: set DYLORA_REMOTE_TOKEN, or a user and password in DYLORA_REMOTE";
  assertEquals(caches.said, [`${said}; this run goes on without it`, said]);
});

Deno.test("a server that is full stores nothing, and delays nothing", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(
    caches.join("remote"),
    ({ method }) =>
      method === "PUT" ? new Response("full", { status: 507 }) : undefined,
  );
  await shared(caches, server.url, ["a", "b", "c"]);
  assertEquals(caches.said, [
    "The remote REMOTE answers 507 to PUT; this run goes on without it",
  ]);
});

Deno.test("a server that does not take what is stored is given up", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(caches.join("remote"));
  const { from, key } = await shared(caches, server.url);
  const { promise, resolve } = Promise.withResolvers<undefined>();
  server.fault = ({ method }) => method === "PUT" ? promise : undefined;
  const more = [
    await makeResult(from, "b", { f: "b" }),
    await makeResult(from, "c", { f: "c" }),
  ];
  const remote = await caches.remote(server.url, from, {
    key,
    stallTimeout: 150,
  });
  await offerAll(remote, ...more);
  resolve(undefined);
  assertEquals(caches.said, [
    "The remote REMOTE does not answer in time; this run goes on without it",
  ]);
  assertEquals(remote.stats.stored, 0);
});

Deno.test("a folder that cannot be written to stores nothing, and is said once", async () => {
  using caches = new Caches();
  caches.write("remote", "a file");
  await shared(caches, `file://${caches.join("remote")}`, ["a", "b"]);
  assertEquals(caches.said.length, 1);
  assertMatch(caches.said[0]!, /^The remote REMOTE cannot be used: .+; this/);
});

Deno.test("a redirect of another server is followed without the token, but not to store", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(caches.join("remote"));
  const { to, from, key, manifest } = await shared(caches, server.url);
  await using front = new FaultyServer(
    caches.join("none"),
    (_, path) => Response.redirect(`${server.url}/${path}`, 307),
  );
  server.headers.length = 0;
  const url = front.url.replace("//", "//user:passw0rd@");
  const remote = await caches.remote(url, to, { trusted: [key.signer] });
  assertEquals((await remote.find(manifest.key))?.manifest, manifest);
  assert(await (await remote.find(manifest.key))!.fetch());
  assert(front.headers.every((it) => it.has("authorization")));
  assert(!server.headers.some((it) => it.has("authorization")));
  const other = await makeResult(from, "other", { f: "other" });
  await offerAll(await caches.remote(url, from, { key }), other);
  assertMatch(caches.said.join(), /answers 307 to PUT/);
});

Deno.test("what is damaged, truncated, swapped or old is refused, in 240 tries, and nothing of it is in the cache", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(caches.join("remote"));
  const { key, manifests } = await shared(caches, server.url, ["a", "b"]);
  const [manifest, other] = manifests as [Manifest, Manifest];
  const blobs = [...manifest.files, manifest.log]
    .map(({ blob }) => `blobs/${blob.slice(0, 2)}/${blob.slice(2)}`);
  const paths = server.requests.filter((it) => it.startsWith("PUT "))
    .map((it) => it.slice(4))
    .filter((it) =>
      blobs.includes(it.replace(".gz", "")) ||
      it === `manifests/${manifest.key}/${key.signer}.json`
    );
  assertEquals(paths.length, 4);
  const read = (path: string) => Deno.readFileSync(caches.join("remote", path));
  const stranger = await caches.key("stranger");
  const forged = caches.store("forged");
  const evil = await makeResult(forged, "a", { "random.bin": "evil" });
  await offerAll(
    await caches.remote(server.url, forged, { key: stranger }),
    evil,
  );
  const text = new TextEncoder();
  /** How a file is made wrong, by its bytes and the number of the try. */
  const wrongs: readonly ((bytes: Uint8Array, i: number, path: string) =>
    | Uint8Array<ArrayBuffer>
    | undefined)[] = [
      (bytes, i) => bytes.slice(0, Math.floor(bytes.length * i / 100)),
      (bytes, i) => {
        const copy = bytes.slice();
        copy[(i * 7919) % copy.length]! ^= 1 << i % 8;
        return copy;
      },
      (bytes, i) => {
        const copy = new Uint8Array(bytes.length + i + 1);
        copy.set(bytes);
        return copy;
      },
      (_, i) => crypto.getRandomValues(new Uint8Array(i * 100)),
      // Another valid file of the remote.
      (_, i, path) => {
        const others = [...paths.filter((it) => it !== path), ...[
          `manifests/${other.key}/${key.signer}.json`,
          `manifests/${manifest.key}/${stranger.signer}.json`,
        ]];
        return read(others[i % others.length]!);
      },
      () => undefined,
      (bytes, i) =>
        text.encode(
          new TextDecoder().decode(bytes).replaceAll(
            manifest.files[i % 2]!.blob,
            evil.files[0]!.blob,
          ),
        ),
    ];
  let [tries, unharmed] = [0, 0];
  for (let i = 0; tries < 240; i++) {
    for (const path of paths) {
      const bytes = read(path);
      for (const wrong of wrongs) {
        const given = wrong(bytes, i, path);
        if (
          given?.length === bytes.length &&
          given.every((it, at) => it === bytes[at])
        ) continue;
        server.fault = (_, asked) =>
          asked !== path
            ? undefined
            : new Response(given, { status: given ? 200 : 404 });
        tries++;
        const to = caches.store(`to-${tries}`);
        to.makeFolder();
        const remote = await caches.remote(server.url, to, {
          trusted: [key.signer],
        });
        const found = await remote.find(manifest.key);
        if (found && await found.fetch()) {
          // What changed says the same, as an upper-case digit of the signature
          // does.
          unharmed++;

          await assertHas(to, manifest);
        } else {
          assertEquals((await remote.find(manifest.key))?.manifest, undefined);
          assertEquals(await to.lookup(manifest.key), { state: "none" });
        }
        for (const it of listFiles(to.folder, "refuse")) {
          const [, blob] = /^blobs\/(.+)$/.exec(it) ?? [];
          assert(!blob || await to.blobs.holds(blob.replace("/", "")), it);
        }
        Deno.removeSync(to.folder, { recursive: true });
      }
    }
  }
  assert(unharmed < 5, `${unharmed}`);
  server.fault = () => undefined;
  const remote = await caches.remote(server.url, caches.store("last"), {
    trusted: [key.signer],
  });
  assert(await (await remote.find(manifest.key))!.fetch());
});

Deno.test("a result that says a wrong size of a file is refused, whether the cache has the file or not", async () => {
  using caches = new Caches();
  const url = `file://${caches.join("remote")}`;
  const { from, key, manifest } = await shared(caches, url);
  const path = `remote/manifests/${manifest.key}/${key.signer}.json`;
  const signed = JSON.parse(Deno.readTextFileSync(caches.join(path)));
  const [first, second] = manifest.files;
  const sameBlob = { ...first!, path: "copy.txt" };
  const wrongs = [
    [{ ...first!, size: 2e15 }, second!],
    [{ ...first!, size: first!.size + 1 }, second!],
    [{ ...first!, size: first!.size - 1 }, second!],
    [first!, second!, { ...sameBlob, size: 2e15 }],
  ];
  for (const [i, files] of wrongs.entries()) {
    const content = await treeDigest(files);
    const lie = { ...manifest, files, content };
    Deno.writeTextFileSync(
      caches.join(path),
      await sign({ manifest: lie, gzip: signed.gzip }, key),
    );
    // The second cache has the files, but no result.
    const held = caches.store(`held-${i}`);
    await held.blobs.putAll(
      manifest.files.map((it) => from.blobs.path(it.blob)),
    );
    for (const to of [caches.store(`to-${i}`), held]) {
      caches.said.length = 0;
      const remote = await caches.remote(url, to, { trusted: [key.signer] });
      const found = await remote.find(manifest.key);
      assertEquals(await found?.fetch() ?? false, false);
      assertEquals(await to.lookup(manifest.key), { state: "none" });
      assertMatch(
        caches.said.join(),
        i === 3 ? /is invalid;/ : /other content than its digest and size say;/,
      );
    }
  }
});

Deno.test("a writer replaces what a reader of the same run has refused", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(caches.join("remote"));
  const { to, key, manifest } = await shared(caches, server.url);
  for (
    const path of [
      ...server.requests.filter((it) => it.startsWith("PUT blobs"))
        .map((it) => it.slice(4)),
      `manifests/${manifest.key}/${key.signer}.json`,
    ]
  ) {
    const file = caches.join("remote", path);
    const bytes = Deno.readFileSync(file);
    Deno.writeFileSync(file, bytes.slice(1));
    const empty = caches.store("empty");
    const refusing = await caches.remote(server.url, empty, { key });
    const found = await refusing.find(manifest.key);
    assertEquals(
      found && await found.fetch() || false,
      false,
    );
    const again = await makeResult(empty, "a", TEXTS);
    await offerAll(refusing, again);
    assertEquals(Deno.readFileSync(file).length, bytes.length);
    Deno.removeSync(empty.folder, { recursive: true });
  }
  const remote = await caches.remote(server.url, to, { trusted: [key.signer] });
  assert(await (await remote.find(manifest.key))!.fetch());
});

Deno.test("an interrupt ends transfers, which the next run goes on with", async () => {
  using caches = new Caches();
  await using server = new FaultyServer(caches.join("remote"));
  const { to, key, manifest } = await shared(caches, server.url);
  const stop = new AbortController();
  const hanging: (() => void)[] = [];
  const random = manifest.files.find(({ path }) => path === "random.bin")!;
  const others = [
    ...manifest.files.filter((file) => file !== random),
    manifest.log,
  ];
  server.fault = async (_, path) => {
    if (!path.includes(random.blob.slice(2))) return undefined;
    await until(
      () => others.every(({ blob }) => existsSync(to.blobs.path(blob))),
      "the other blobs have come",
    );
    stop.abort(new Error("stop"));
    await new Promise<void>((resolve) => hanging.push(resolve));
    return undefined;
  };
  const options = { trusted: [key.signer] };
  const first = await caches.remote(server.url, to, {
    ...options,
    signal: stop.signal,
  });
  const found = (await first.find(manifest.key))!;
  await assertRejects(
    () => found.fetch(),
    Error,
    "stop",
  );
  assertEquals((await to.lookup(manifest.key)).state, "none");
  for (const go of hanging) go();
  server.fault = () => undefined;
  server.requests.length = 0;
  const second = await caches.remote(server.url, to, options);
  assert(await (await second.find(manifest.key))!.fetch());
  await assertHas(to, manifest);
  // The other blobs were there.
  assertEquals(server.requests.length, 2);
});
