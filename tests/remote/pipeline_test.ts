import { assert, assertEquals, assertMatch } from "@std/assert";
import { delay } from "@std/async/delay";
import { PROGRAM } from "../../lib/cli/arguments/options.ts";
import { type CliProject, spawnMain } from "../cli/project.ts";
import { withEnvironment } from "../environment.ts";
import { until } from "../until.ts";
import { Checkouts } from "./checkouts.ts";
import { FaultyServer } from "./made.ts";

Deno.test("a second checkout takes all results from a folder, runs nothing and has the same files", async () => {
  using checkouts = await Checkouts.open();
  const { first, second, env } = checkouts;
  const stored = await checkouts.store();
  assertMatch(
    stored.stdout,
    /^2 of 2 new results stored in file:\/\/\S+, [\d.]+ kB$/m,
  );
  const plan = await checkouts.run(second, [], {}, "plan");
  assertEquals(
    plan.lines.slice(0, 2),
    ["a", "b"].map((it) =>
      `restore    ${it}  in ${new URL(env.DYLORA_REMOTE!)}`
    ),
  );
  const ran = await checkouts.run(second);
  assertMatch(ran.stdout, /^2 of 2 results from file:\/\/\S+, [\d.]+ k?B$/m);
  assertMatch(ran.stdout, /^2 stages: 0 ran, 2 restored, /m);
  for (const stage of ["a", "b"]) {
    const file = `out/test/${stage}/out.txt`;
    assertEquals(second.read(file), first.read(file));
  }
  Deno.removeSync(checkouts.folder, { recursive: true });
  const written = await checkouts.run(second, ["--remote-mode", "write"]);
  assertMatch(
    written.stdout,
    /^Nothing new to store in file:\S+; "deno task cache push .+ --tasks .+ --out .+" stores what the cache has$/m,
  );
  const noop = await checkouts.run(second);
  assertMatch(noop.stdout, /^Nothing to do: 2 stages unchanged/m);
  assert(!noop.stdout.includes("results from"), noop.stdout);
});

Deno.test("a remote is not asked without a miss, and with a miss for the stages that miss", async () => {
  using checkouts = await Checkouts.open();
  await using server = new FaultyServer(checkouts.folder);
  const env = { DYLORA_REMOTE: server.url };
  await checkouts.store(env);
  server.requests.length = 0;
  await checkouts.run(checkouts.first, [], env);
  assertEquals(server.requests, []);
  checkouts.first.edit("test.yaml", "two", "second");
  const { stdout } = await checkouts.run(checkouts.first, [], env);
  assertMatch(stdout, /^0 of 1 result from http\S+, 0 B$/m);
  const { requests } = server;
  assertEquals(requests.filter((it) => it.endsWith(".json")).length, 1);
  assert(requests.every((it) => it.startsWith("GET manifests/")));
});

for (
  const [name, fault, said] of [
    [
      "answers with errors",
      () => new Response("oh", { status: 500 }),
      /^The remote http\S+ answers 500 to GET; this run goes on without it$/m,
    ],
    [
      "lies",
      (_: Request, path: string) =>
        path.startsWith("blobs") ? new Response("lies") : undefined,
      /^Refused a result of the remote http\S+: "blobs\/\S+" has other content than its digest and size say; its stage runs locally$/m,
    ],
  ] as const
) {
  Deno.test(`a run goes on by itself where the remote ${name}, and says so once`, async () => {
    using checkouts = await Checkouts.open();
    await using server = new FaultyServer(checkouts.folder);
    const env = { DYLORA_REMOTE: `${server.url}?sig=s3cret` };
    await checkouts.store(env);
    server.fault = fault;
    const { code, stdout } = await checkouts.run(checkouts.second, [], env);
    assertEquals(code, 0);
    assertMatch(stdout, said);
    assertMatch(stdout, /^2 stages: 2 ran, /m);
    assertEquals(stdout.match(/the remote/gi)?.length, 1);
    assert(!stdout.includes("s3cret"), stdout);
    assertEquals(
      checkouts.second.read("out/test/b/out.txt"),
      "one\ntwo\n",
    );
  });
}

Deno.test("a run ends whose stages share a result that was refused and then made here", async () => {
  using checkouts = await Checkouts.open(`name: test
stages:
  a: { task: make, with: { text: one } }
  twin: { task: make, with: { text: one } }
`);
  await using server = new FaultyServer(checkouts.folder);
  const env = { DYLORA_REMOTE: server.url };
  await checkouts.store(env);
  server.fault = (_, path) =>
    path.startsWith("blobs") ? new Response("lies") : undefined;
  const ran = await Promise.race([
    checkouts.run(checkouts.second, [], env),
    delay(20_000).then(() => undefined),
  ]);
  assertMatch(ran?.stdout ?? "no end", /^2 stages: 1 ran, 1 restored, /m);
});

Deno.test("a run that is killed while it stores or fetches results leaves nothing partial, and the next one goes on", async () => {
  using checkouts = await Checkouts.open();
  await using server = new FaultyServer(checkouts.folder);
  const env = { ...checkouts.env, DYLORA_REMOTE: server.url };
  const { promise: never, resolve: end } = Promise.withResolvers<undefined>();
  const killDuring = async (
    project: CliProject,
    mode: string,
    request: string,
  ) => {
    let reached = false;
    server.fault = ({ method }, path) => {
      if (!`${method} ${path}`.startsWith(request)) return undefined;
      reached = true;
      return never;
    };
    const process = await withEnvironment(
      env,
      () => Promise.resolve(project.spawn("pipeline", "--remote-mode", mode)),
    );
    await until(() => reached, `the request ${request}`);
    process.kill("SIGKILL");
    await process.output();
    server.fault = () => undefined;
  };
  await killDuring(checkouts.first, "write", "PUT blobs");
  const { stdout } = await checkouts.run(checkouts.second, [
    "--remote-mode",
    "write",
  ], env);
  assertMatch(stdout, /^0 of 2 results from .*\n2 of 2 new results stored/m);
  Deno.removeSync(checkouts.first.path("out"), { recursive: true });
  await killDuring(checkouts.first, "read", "GET blobs");
  const again = await checkouts.run(checkouts.first, [], env);
  assertMatch(again.stdout, /^2 stages: 0 ran, 2 restored, /m);
  end(undefined);
});

Deno.test("a remote is refused without keys, with an invalid address or with a secret in an option", async () => {
  using checkouts = await Checkouts.open();
  const { first } = checkouts;
  const none = { XDG_CONFIG_HOME: first.path("none"), DYLORA_REMOTE_TRUST: "" };
  for (
    const [args, env, message] of [
      [[], none, /^No key is trusted, so no result of the remote can be used/],
      [["--remote-mode", "write"], none, /^Results .* make a key with/],
      [[], { DYLORA_REMOTE_TRUST: "abc" }, /^"abc" is not a public key/],
      [["--remote", "results"], {}, /^The address of the remote is invalid/],
      [
        ["--remote", "ftp://u:passw0rd@h/"],
        {},
        /^The address of the remote is/,
      ],
      [
        ["--remote", "https://u:passw0rd@h/"],
        {},
        /^Option "--remote" must not have a password or a query/,
      ],
      [["--remote", "https://h/?sig=passw0rd"], {}, /^Option "--remote" must/],
      [
        ["--remote-mode", "write"],
        { DYLORA_REMOTE: "" },
        /^There is no remote: give its address/,
      ],
    ] as const
  ) {
    const { code, stderr } = await checkouts.run(first, args, env);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, message);
    assert(!stderr.includes("passw0rd"), stderr);
  }
});

Deno.test("the remote, its mode and the keys to trust come from the profile", async () => {
  using checkouts = await Checkouts.open();
  const { first, second, folder } = checkouts;
  const { readKey } = await import("../../lib/remote/signature.ts");
  const file = first.path("config/dylora/remote-key.json");
  const { signer } = (await readKey(file))!;
  await checkouts.store();
  second.write(
    "profile.yaml",
    `remote: { url: "file://${folder}", mode: read, trust: ["${signer}"] }\n`,
  );
  const { stdout } = await checkouts.run(second, [], {
    XDG_CONFIG_HOME: second.path("none"),
    DYLORA_REMOTE: "",
    DYLORA_PROFILE: second.path("profile.yaml"),
  });
  assertMatch(stdout, /^2 stages: 0 ran, 2 restored, /m);
});

Deno.test("cache push and pull bring the results of a pipeline from cache to cache, ls and gc show and remove them", async () => {
  using checkouts = await Checkouts.open();
  const { first, second } = checkouts;
  await checkouts.run(first, ["--remote-mode", "off"]);
  const pushed = await checkouts.cache(first, "push");
  assertMatch(pushed.stdout, /^2 of 2 new results stored in file:/);
  const none = await checkouts.cache(second, "push");
  assertMatch(none.stderr, /^The cache has no such result: run the pipeline/);
  const again = await checkouts.cache(first, "push");
  assertMatch(again.stdout, /^0 of 2 new results stored in \S+, 0 B$/m);
  const pulled = await checkouts.cache(second, "pull");
  assertMatch(pulled.stdout, /^2 of 2 results from file:/);
  const ran = await checkouts.run(second, ["--remote-mode", "off"]);
  assertMatch(ran.stdout, /^2 stages: 0 ran, 2 restored, /m);
  const signer = (await checkouts.cache(first, "key")).stdout.trim();
  const listed = await checkouts.cache(second, "ls", "--remote");
  assertEquals(
    listed.lines.map((it) => it.split("  ").slice(-2)),
    ["b", "a"].map((it) => [`test/${it}`, `by ${signer.slice(0, 12)}`]),
  );
  const young = await checkouts.cache(
    first,
    "gc",
    "--remote",
    "--older-than",
    "1d",
  );
  assertMatch(young.stdout, /^0 results and 0 files removed from file:/);
  await delay(1000);
  const old = await checkouts.cache(
    first,
    "gc",
    "--remote",
    "--older-than",
    "1s",
  );
  assertMatch(old.stdout, /^2 results and [34] files removed from file:/);
  for (
    const [args, message] of [
      [["gc", "--remote"], /requires "--older-than AGE"/],
      [["gc", "--older-than", "1d"], /requires "--remote"/],
      [
        ["ls", "-S", "a=1"],
        /^Option "--set" is for "cache push", "cache pull", "cache bundle" only/,
      ],
      [["gc", "--remote", "--older-than", "old"], /^Invalid value "old"/],
    ] as const
  ) {
    const [action, ...rest] = args;
    const { code, stderr } = await checkouts.cache(first, action!, ...rest);
    assertEquals(code, 2);
    assertMatch(stderr, message);
  }
});

for (const action of [["ls"], ["gc", "--older-than", "1d"]]) {
  Deno.test(`cache ${action[0]} of a remote that does not answer exits with 130 after Ctrl-C`, async () => {
    using checkouts = await Checkouts.open();
    const { promise: never, resolve: end } = Promise.withResolvers<undefined>();
    await using server = new FaultyServer(checkouts.folder, () => never);
    const process = await withEnvironment(
      { ...checkouts.env, DYLORA_REMOTE: server.url },
      () =>
        Promise.resolve(
          spawnMain(
            ...["cache", ...action, "--remote"],
            ...["--out", checkouts.first.path("out")],
          ),
        ),
    );
    await until(() => server.requests.length > 0, "a request");
    process.kill("SIGINT");
    const { code } = await process.output();
    end(undefined);
    assertEquals(code, 130);
  });
}

Deno.test("cache bundle writes a tar file, from which runs take results by a path and by a URL", async () => {
  using checkouts = await Checkouts.open();
  const { first, second } = checkouts;
  await checkouts.run(first, ["--remote-mode", "off"]);
  const [file, tasks, out] = ["test.yaml", "tasks", "out"]
    .map((it) => first.path(it)) as [string, string, string];
  const { code, stdout, stderr } = await withEnvironment(
    checkouts.env,
    () =>
      new Deno.Command(Deno.execPath(), {
        args: [
          ...PROGRAM,
          ...["cache", "bundle", file, "--tasks", tasks, "--out", out],
        ],
      }).output(),
  );
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  assertMatch(
    new TextDecoder().decode(stderr),
    /^2 results, [\d.]+ kB, signed by [0-9a-f]{64}$/m,
  );
  Deno.mkdirSync(checkouts.folder);
  const tar = `${checkouts.folder}/results.tar`;
  Deno.writeFileSync(tar, stdout);
  const listed = await new Deno.Command("tar", { args: ["-tf", tar] }).output();
  assertEquals(listed.code, 0);
  await using server = new FaultyServer(checkouts.folder);
  for (const address of [`file://${tar}`, `${server.url}/results.tar`]) {
    const env = { DYLORA_REMOTE: address };
    const ran = await checkouts.run(second, [], env);
    assertMatch(ran.stdout, /^2 stages: 0 ran, 2 restored, /m);
    Deno.removeSync(second.path("out"), { recursive: true });
  }
  Deno.truncateSync(tar, stdout.length - 4000);
  const ran = await checkouts.run(second, [], {
    DYLORA_REMOTE: `file://${tar}`,
  });
  assertMatch(
    ran.stdout,
    /^The remote file:.+ cannot be unpacked: .*truncated.*;/m,
  );
  assertMatch(ran.stdout, /^2 stages: 2 ran, /m);
});
