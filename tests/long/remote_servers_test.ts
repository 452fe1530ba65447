import { assert, assertEquals, assertMatch } from "@std/assert";
import { listFiles } from "../../lib/store/blobs.ts";
import type { Manifest } from "../../lib/store/manifests.ts";
import { withEnvironment } from "../environment.ts";
import { Checkouts } from "../remote/checkouts.ts";
import { Caches, makeResult, offerAll, TEXTS } from "../remote/made.ts";
import {
  NGINX,
  S3_USER,
  startNginx,
  startS3,
  WEED,
} from "../remote/servers.ts";

/** Stores results in a remote, takes them from it, and removes an old one. */
async function travels(caches: Caches, url: string): Promise<void> {
  const [from, to] = [caches.store("from"), caches.store("to")];
  const key = await caches.key("key");
  const a = await makeResult(from, "a", TEXTS);
  const big = crypto.getRandomValues(new Uint8Array(65_536));
  const bytes = new Uint8Array(20 << 20);
  for (let at = 0; at < bytes.length; at += big.length) bytes.set(big, at);
  const b: Manifest = await makeResult(from, "b", { "big.bin": bytes });
  const writer = await caches.remote(url, from, { key });
  await offerAll(writer, a, b);
  assertEquals(caches.said, []);
  assertEquals(writer.stats.stored, 2);

  const reader = await caches.remote(url, to, { trusted: [key.signer] });
  for (const manifest of [a, b]) {
    assertEquals((await reader.find(manifest.key))?.manifest, manifest);
    assert(await (await reader.find(manifest.key))!.fetch());
    assertEquals((await to.lookup(manifest.key)).state, "found");
  }
  assertEquals(await reader.find("0".repeat(64)), undefined);
  assertEquals(
    (await reader.list()).map(({ manifest, signer }) => [
      manifest.key,
      signer,
    ]).sort(),
    [[a.key, key.signer], [b.key, key.signer]].sort(),
  );

  const young = { ...b, started: "2026-05-05T00:00:00.000Z" };
  const other = await caches.key("other");
  await offerAll(await caches.remote(url, from, { key: other }), young);
  const done = await reader.removeBefore(Date.parse("2026-02-02"));
  assertEquals(done, { results: 2, blobs: 3 });
  const left = await caches.remote(url, caches.store("left"), {
    trusted: [key.signer, other.signer],
  });
  assertEquals((await left.find(a.key))?.manifest, undefined);
  assert(await (await left.find(b.key))!.fetch());
  await left.end();
  assertEquals(caches.said, []);
}

Deno.test("results travel through a folder, and old ones are removed from it", async () => {
  using caches = new Caches();
  await travels(caches, `file://${caches.join("remote")}`);
});

Deno.test({
  name: "results travel through nginx, and old ones are removed from it",
  ignore: NGINX === undefined,
  async fn() {
    using caches = new Caches();
    await using server = await startNginx(caches.path);
    const url = server.url.replace("//", "//ci:passw0rd@") + "team";
    await travels(caches, url);
    const foreign = await caches.remote(
      url.replace("passw0rd", "wrong"),
      caches.store("to"),
      { trusted: ["0".repeat(64)] },
    );
    assertEquals(await foreign.find("0".repeat(64)), undefined);
    assertMatch(
      caches.said.join(),
      /^The remote REMOTE answers 401 to GET: set DYLORA_REMOTE_TOKEN, or a user and password in DYLORA_REMOTE;/,
    );
  },
});

Deno.test({
  name: "results travel through S3, and old ones are removed from it",
  ignore: WEED === undefined,
  async fn() {
    using caches = new Caches();
    await using server = await startS3(caches.path);
    const env = { ...S3_USER, AWS_ENDPOINT_URL_S3: server.url };
    await withEnvironment(env, () => travels(caches, "s3://results/team/a"));
    for (
      const [wrong, said] of [
        [{ AWS_ACCESS_KEY_ID: "nobody" }, "403 (InvalidAccessKeyId)"],
        [{ AWS_SECRET_ACCESS_KEY: "no" }, "403 (SignatureDoesNotMatch)"],
      ] as const
    ) {
      caches.said.length = 0;
      const trusted = ["0".repeat(64)];
      await withEnvironment({ ...env, ...wrong }, async () => {
        const store = caches.store("to");
        const remote = await caches.remote("s3://results/a", store, {
          trusted,
        });
        assertEquals(await remote.find("0".repeat(64)), undefined);
      });
      assertEquals(caches.said, [
        `The remote REMOTE answers ${said} to GET; this run goes on without it`,
      ]);
    }
    caches.write(
      "credentials",
      `[default]
aws_access_key_id = ${S3_USER.AWS_ACCESS_KEY_ID}
aws_secret_access_key = ${S3_USER.AWS_SECRET_ACCESS_KEY}
`,
    );
    const file = {
      ...env,
      AWS_ACCESS_KEY_ID: "",
      AWS_SHARED_CREDENTIALS_FILE: caches.join("credentials"),
    };
    caches.said.length = 0;
    await withEnvironment(file, async () => {
      const remote = await caches.remote("s3://results/a", caches.store("to"), {
        trusted: ["0".repeat(64)],
      });
      assertEquals(await remote.find("0".repeat(64)), undefined);
    });
    assertEquals(caches.said, []);
  },
});

for (
  const [name, program, start] of [
    ["nginx", NGINX, async (folder: string) => {
      const server = await startNginx(folder);
      const address = server.url.replace("//", "//ci:passw0rd@") + "team";
      return [server, { DYLORA_REMOTE: address }] as const;
    }],
    ["S3", WEED, async (folder: string) => {
      const server = await startS3(folder);
      const env = { ...S3_USER, AWS_ENDPOINT_URL_S3: server.url };
      return [server, { ...env, DYLORA_REMOTE: "s3://results/team" }] as const;
    }],
  ] as const
) {
  Deno.test({
    name:
      `a second checkout takes all results from ${name}, runs nothing and has the same files, and no secret is printed or kept`,
    ignore: program === undefined,
    async fn() {
      using checkouts = await Checkouts.open();
      const { first, second } = checkouts;
      Deno.mkdirSync(first.path("server"));
      const [running, env] = await start(first.path("server"));
      await using _server = running;
      const stored = await checkouts.store(env);
      assertMatch(stored.stdout, /^2 of 2 new results stored in /m);
      const ran = await checkouts.run(second, [], env);
      assertMatch(ran.stdout, /^2 of 2 results from /m);
      assertMatch(ran.stdout, /^2 stages: 0 ran, 2 restored, /m);
      for (const stage of ["a", "b"]) {
        const file = `out/test/${stage}/out.txt`;
        assertEquals(second.read(file), first.read(file));
      }
      const texts = [first, second].flatMap((project) =>
        listFiles(project.path("out"), "refuse")
          .map((file) => project.read(`out/${file}`))
      );
      for (const text of [stored.stdout, ran.stdout, ...texts]) {
        assert(!/passw0rd|s3cretkey/.test(text), text.slice(0, 500));
      }
    },
  });
}
