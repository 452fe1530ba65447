import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { relative } from "node:path";
import { inNamespace } from "../../lib/scheduler/executors/local.ts";
import { hasLandlock } from "../../lib/scheduler/landlock.ts";
import { readIfThere } from "../../lib/files/files.ts";
import { setEnvironment } from "../environment.ts";
import { until } from "../until.ts";
import { engine, TestProject } from "./project.ts";

/** Attempts at what a task did not declare; each returns what it got. */
const ATTEMPTS: Readonly<Record<string, string>> = {
  "a file": `Deno.readTextFileSync(SECRET)`,
  "a file by node:fs": `(await import("node:fs")).readFileSync(SECRET, "utf8")`,
  "a file by fetch": `await (await fetch("file://" + SECRET)).text()`,
  "a file by a link":
    `(Deno.symlinkSync(SECRET, stage.output + "/link"), Deno.readTextFileSync(stage.output + "/link"))`,
  "a file by a hard link":
    `(Deno.linkSync(SECRET, stage.output + "/link"), Deno.readTextFileSync(stage.output + "/link"))`,
  "a file by a computed import": `(await import(SECRET + "")).default`,
  "a JSON file by an import within text":
    `(await import("data:application/javascript," + encodeURIComponent('export { default } from "file://' + SECRET + '" with { type: "json" }'))).default`,
  "a JSON file by require":
    `(await import("node:module")).createRequire(import.meta.url)(SECRET)`,
  "a worker's file":
    `await new Promise((resolve, reject) => { const worker = new Worker("data:application/javascript," + encodeURIComponent('self.postMessage(Deno.readTextFileSync("' + SECRET + '"))'), { type: "module" }); worker.onmessage = (e) => resolve(e.data); worker.onerror = (e) => { e.preventDefault(); reject(new Deno.errors.NotCapable(e.message)); }; })`,
  "the project's folder": `[...Deno.readDirSync(PROJECT)].length`,
  "the cache": `[...Deno.readDirSync(PROJECT + "/out/cache/blobs")].length`,
  "an environment variable": `Deno.env.get("STAGE_SECRET")`,
  "the environment": `JSON.stringify(Deno.env.toObject())`,
  "the environment by /proc": `Deno.readTextFileSync("/proc/self/environ")`,
  "the network": `await (await fetch(SERVER)).text()`,
  "a connection":
    `(await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(SERVER).port) })).remoteAddr`,
  // From a host that Deno allows imports from by default.
  "a module of the network":
    `(await import(["https:", "", "deno.land", "std@0.224.0/assert/assert.ts"].join("/"))).assert.name`,
  "a module of a server": `(await import(SERVER + "/secret.ts")).default`,
  "a package of the network":
    `(await import(["npm", "is-odd@3.0.1"].join(":"))).default.name`,
  "a child process": `new Deno.Command("cat", { args: [SECRET] }).outputSync()`,
  "a child process by node":
    `(await import("node:child_process")).execSync("cat " + SECRET)`,
  "a library": `Deno.dlopen("libc.so.6", {})`,
  "what an earlier stage stored":
    `(localStorage.setItem("n", "1"), localStorage.length)`,
  "what an earlier stage stored, by npm's own names":
    `new Function("return globalThis.localStorage.length")()`,
  "what is stored for the session": `sessionStorage.length`,
  "what an earlier stage cached": `await caches.open("n")`,
  "the host's name": `Deno.hostname()`,
  "a file outside": `Deno.writeTextFileSync(PROJECT + "/written", "x")`,
  "its own inputs":
    `Deno.writeTextFileSync(stage.inputs.from[0].path + "/out.txt", "x")`,
  "another's output":
    `Deno.writeTextFileSync(PROJECT + "/out/test/first/out.txt", "x")`,
};

Deno.test("run() denies a stage everything that its task does not declare", async () => {
  using project = new TestProject();

  let requests = 0;
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    () => {
      requests++;
      return new Response("secret");
    },
  );
  using _env = setEnvironment({ STAGE_SECRET: "secret" });
  project.write("secret.json", '"secret"');
  project.task("first", "return 1;");
  project.task(
    "thief",
    `const got: string[] = [];
     const attempts: Record<string, () => unknown> = { ${
      Object.entries(ATTEMPTS).map(([name, source]) =>
        `${JSON.stringify(name)}: async () => ${source},`
      ).join("\n")
    } };
     for (const [name, attempt] of Object.entries(attempts)) {
       try { got.push(name + ": " + await attempt()); }
       catch (error) {
         const refused = error instanceof Deno.errors.NotCapable || /Requires|ERR_ACCESS_DENIED|--(no-npm|no-remote|cached-only) is specified|^(localStorage|sessionStorage|caches) is not defined|properties of undefined \\(reading 'length'\\)/.test(error.message);
         if (!refused) got.push(name + " failed otherwise: " + error);
       }
     }
     return JSON.stringify(got);`,
    {
      inputs: { from: { kind: "text" } },
      head: `const SECRET = ${JSON.stringify(project.path("secret.json"))};
        const PROJECT = ${JSON.stringify(project.folder)};
        const SERVER = "http://127.0.0.1:${server.addr.port}";`,
    },
  );
  const { events, summary } = await project.run({
    first: { task: "first" },
    thief: { task: "thief", inputs: { from: ["first"] } },
  });
  assertEquals(summary.failed, 0, JSON.stringify(events));
  assertEquals(JSON.parse(project.read("out/test/thief/out.txt")), []);
  assertEquals(requests, 0);
});

/**
 * Attempts of native code at what a task did not declare; each returns what a
 * function of the C library returned.
 */
const NATIVE_ATTEMPTS: Readonly<Record<string, string>> = {
  "a file": `open(SECRET, O_RDONLY)`,
  "the project's folder": `open(PROJECT, O_RDONLY)`,
  "the cache": `open(PROJECT + "/out/cache/blobs", O_RDONLY)`,
  "another's output": `open(PROJECT + "/out/test/other/out.txt", O_RDONLY)`,
  "the user's files": `open(HOME, O_RDONLY)`,
  "the environment of the scheduler":
    `open("/proc/" + SCHEDULER + "/environ", O_RDONLY)`,
  "the files of the scheduler":
    `open("/proc/" + SCHEDULER + "/cwd/secret.json", O_RDONLY)`,
  "the memory of the scheduler":
    `open("/proc/" + SCHEDULER + "/mem", O_RDONLY)`,
  "a file by the root of the scheduler":
    `open("/proc/" + SCHEDULER + "/root" + SECRET, O_RDONLY)`,
  "a mount": `mount(PROJECT, stage.output)`,
  "the scheduler as a debugger": `ptrace(PTRACE_SEIZE, SCHEDULER)`,
  "a file that is created": `open(PROJECT + "/written", O_CREAT)`,
  "its own inputs": `open(stage.inputs.from[0].path + "/out.txt", O_WRONLY)`,
  "the task's code": `open(PROJECT + "/tasks/native.ts", O_WRONLY)`,
  "a removal": `unlink(SECRET)`,
  "the code that Deno has compiled":
    `open(DENO + "/v8_code_cache_v2", O_WRONLY)`,
  "code that Deno would take": `open(DENO + "/gen/planted.js", O_CREAT)`,
  "a connection": `connect()`,
  "a signal to the scheduler": `kill(SCHEDULER, 0)`,
  "a key of the session": `key()`,
  // With a namespace only.
  ...(typeof inNamespace([], true) !== "string" && {
    "shared memory of others": `libc.shmget(IPC_KEY, 1n, 0)`,
    "a queue of others": `libc.msgget(IPC_KEY, 0)`,
  }),
};

/** Number of the system call `keyctl` and that of `add_key`. */
const [KEYCTL, ADD_KEY] = Deno.build.arch === "x86_64"
  ? [250n, 248n]
  : [219n, 217n];

/**
 * Makes shared memory and a queue of a key for as long as it is not disposed
 * of, and a key in the session's keyring.
 */
function shared(key: number): Disposable {
  const { symbols: libc } = Deno.dlopen("libc.so.6", {
    shmget: { parameters: ["i32", "usize", "i32"], result: "i32" },
    shmctl: { parameters: ["i32", "i32", "pointer"], result: "i32" },
    msgget: { parameters: ["i32", "i32"], result: "i32" },
    msgctl: { parameters: ["i32", "i32", "pointer"], result: "i32" },
    syscall: {
      parameters: ["i64", "buffer", "buffer", "buffer", "usize", "i32"],
      result: "i64",
    },
  });
  const [IPC_CREAT, IPC_RMID, SESSION] = [0o1600, 0, -3];
  const memory = libc.shmget(key, 4096n, IPC_CREAT);
  const queue = libc.msgget(key, IPC_CREAT);
  const text = (it: string) => new TextEncoder().encode(`${it}\0`);
  libc.syscall(
    ADD_KEY,
    ...[text("user"), text("dylora-test"), text("secret")] as const,
    ...[6n, SESSION] as const,
  );
  return {
    [Symbol.dispose]() {
      libc.shmctl(memory, IPC_RMID, null);
      libc.msgctl(queue, IPC_RMID, null);
    },
  };
}

Deno.test({
  name:
    "run() denies native code everything that its task does not declare, where there is Landlock",
  ignore: !hasLandlock(),
  fn: async () => {
    using project = new TestProject();
    await using server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      () => new Response("secret"),
    );
    project.write("secret.json", '"secret"');
    using _shared = shared(Deno.pid);
    project.task("make", "return params.text;");
    project.task(
      "native",
      `const { symbols: libc } = Deno.dlopen("libc.so.6", {
         open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
         unlink: { parameters: ["buffer"], result: "i32" },
         kill: { parameters: ["i32", "i32"], result: "i32" },
         mount: { parameters: ["buffer", "buffer", "buffer", "u64", "pointer"], result: "i32" },
         ptrace: { parameters: ["i64", "i32", "pointer", "pointer"], result: "i64" },
         socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
         connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
         shmget: { parameters: ["i32", "usize", "i32"], result: "i32" },
         msgget: { parameters: ["i32", "i32"], result: "i32" },
         syscall: { parameters: ["i64", "i64", "i64", "buffer", "buffer", "i64"], result: "i64" },
       });
       const [IPC_KEY, KEYCTL_SEARCH, SESSION] = [SCHEDULER, 10n, -3n];
       const key = () => Number(libc.syscall(KEYCTL, KEYCTL_SEARCH, SESSION, path("user"), path("dylora-test"), 0n));
       const [O_RDONLY, O_WRONLY, O_CREAT] = [0, 1, 0o101];
       const path = (text: string) => new TextEncoder().encode(text + "\\0");
       const open = (name: string, flags: number) => libc.open(path(name), flags, 0o600);
       const unlink = (name: string) => libc.unlink(path(name));
       const { kill } = libc;
       const [MS_BIND, PTRACE_SEIZE] = [4096n, 0x4206n];
       const mount = (from: string, to: string) => libc.mount(path(from), path(to), path("none"), MS_BIND, null);
       const ptrace = (request: bigint, pid: number) => Number(libc.ptrace(request, pid, null, null));
       const connect = () => libc.connect(libc.socket(2, 1, 0), new Uint8Array([2, 0, PORT >> 8, PORT & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 16);
       const got: string[] = [];
       const attempts: Record<string, () => number> = { ${
        Object.entries(NATIVE_ATTEMPTS).map(([name, source]) =>
          `${JSON.stringify(name)}: () => ${source},`
        ).join("\n")
      } };
       for (const [name, attempt] of Object.entries(attempts)) {
         if (attempt() !== -1) got.push(name);
       }
       // What it may use.
       for (const name of [stage.inputs.from[0].path + "/out.txt", LIBRARY, "/proc/self/maps", "/dev/urandom"]) {
         if (open(name, O_RDONLY) === -1) got.push("not " + name);
       }
       for (const folder of [stage.output, stage.checkpoint, Deno.env.get("TMPDIR")]) {
         if (open(folder + "/file", O_CREAT) === -1) got.push("not " + folder);
       }
       unlink(stage.output + "/file");
       return JSON.stringify(got);`,
      {
        inputs: { from: { kind: "text" } },
        head: `const SECRET = ${JSON.stringify(project.path("secret.json"))};
          const PROJECT = ${JSON.stringify(project.folder)};
          const DENO = ${JSON.stringify(denoFolder())};
          const HOME = ${JSON.stringify(Deno.env.get("HOME"))};
          const LIBRARY = ${JSON.stringify(project.path("library/file.so"))};
          const PORT = ${server.addr.port};
          const KEYCTL = ${KEYCTL}n;
          const SCHEDULER = ${Deno.pid};`,
        rest: 'needs: ["engine"], permissions: { env: ["TMPDIR"] },',
      },
    );
    project.write("library/file.so", "library");
    const settings = engine("engine 1", {
      flags: ["--allow-ffi"],
      read: [project.path("library")],
    });
    const { events, summary } = await project.run({
      make: { task: "make", params: { text: "given" } },
      other: { task: "make", params: { text: "not given" } },
      native: { task: "native", inputs: { from: ["make"] } },
    }, settings);
    assertEquals(summary.failed, 0, JSON.stringify(events));
    assertEquals(JSON.parse(project.read("out/test/native/out.txt")), []);
    assertEquals(project.read("secret.json"), '"secret"');
  },
});

Deno.test({
  name:
    "run() gives native code without net no network, whatever it asks the kernel for",
  ignore: typeof inNamespace([], true) === "string",
  fn: async () => {
    using project = new TestProject();
    project.write("signs/.keep", "");
    const signs = JSON.stringify(project.path("signs"));
    const server = Deno.listen({ port: 0, hostname: "127.0.0.1" });
    let connections = 0;
    const serving = (async () => {
      for await (const connection of server) {
        connections++;
        connection.close();
      }
    })();
    project.task(
      "native",
      `const { symbols: libc } = Deno.dlopen("libc.so.6", {
         socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
         connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
         sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
         listen: { parameters: ["i32", "i32"], result: "i32" },
         getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
       });
       const [AF_INET, SOCK_STREAM, SOCK_DGRAM, IPPROTO_MPTCP, MSG_FASTOPEN] = [2, 1, 2, 262, 0x20000000];
       const { port } = params;
       const server = new Uint8Array([AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
       const text = new TextEncoder().encode("secret");
       const listener = libc.socket(AF_INET, SOCK_STREAM, 0);
       if (libc.listen(listener, 1) !== 0) throw new Error("It cannot listen");
       const own = new Uint8Array(16);
       libc.getsockname(listener, own, new Uint32Array([16]));
       Deno.writeTextFileSync(${signs} + "/port", String(own[2] * 256 + own[3]));
       while (![...Deno.readDirSync(${signs})].some(({ name }) => name === "go")) {
         await new Promise((resolve) => setTimeout(resolve, 20));
       }
       return [
         libc.connect(libc.socket(AF_INET, SOCK_STREAM, 0), server, 16),
         libc.connect(libc.socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), server, 16),
         libc.sendto(libc.socket(AF_INET, SOCK_STREAM, 0), text, 6n, MSG_FASTOPEN, server, 16),
         libc.sendto(libc.socket(AF_INET, SOCK_DGRAM, 0), text, 6n, 0, server, 16),
       ].join();`,
      { rest: `needs: ["engine"], permissions: { write: () => [${signs}] },` },
    );
    const stages = {
      native: { task: "native", params: { port: server.addr.port } },
    };
    const settings = engine("engine 1", { flags: ["--allow-ffi"] });
    const running = project.run(stages, settings);
    const port = () => Number(readIfThere(project.path("signs/port")) ?? 0);
    await until(() => port() > 0, "the stage listened");
    await assertRejects(
      () => Deno.connect({ hostname: "127.0.0.1", port: port() }),
      Deno.errors.ConnectionRefused,
    );
    project.write("signs/go", "");
    const { summary, events } = await running;
    assertEquals(summary.failed, 0, JSON.stringify(events));
    assertEquals(project.read("out/test/native/out.txt"), "-1,-1,-1,-1");
    server.close();
    await serving;
    assertEquals(connections, 0);
  },
});

/** Deno's cache folder, as Deno reports it. */
function denoFolder(): string {
  const { stdout } = new Deno.Command(Deno.execPath(), {
    args: ["info", "--json"],
  }).outputSync();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

Deno.test("run() lets stages use Deno's cache if DENO_DIR is relative", async () => {
  using project = new TestProject();
  const deno = denoFolder();
  const cwd = Deno.cwd();
  // So deep that the relative path leads elsewhere from other folders.
  const deep = project.path(Array(20).fill("deep").join("/"));
  Deno.mkdirSync(deep, { recursive: true });
  Deno.chdir(deep);
  using _env = setEnvironment({ DENO_DIR: relative(Deno.cwd(), deno) });
  try {
    project.task("cached", `return Deno.env.get("DENO_DIR");`, {
      rest: 'permissions: { env: ["DENO_DIR"] },',
    });
    await project.run({ cached: { task: "cached" } });
    assertEquals(project.read("out/test/cached/out.txt"), deno);
  } finally {
    Deno.chdir(cwd);
  }
});

Deno.test("run() grants a stage what its task declares", async () => {
  using project = new TestProject();
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    () => new Response("net"),
  );
  using _env = setEnvironment({ STAGE_SECRET: "env" });
  project.write("given/file.txt", "read");
  project.task(
    "guest",
    `const dir = ${JSON.stringify(project.path("given"))};
     Deno.writeTextFileSync(dir + "/new.txt", "written");
     const program = new Deno.Command("echo", { args: ["run"] }).outputSync();
     return [
       Deno.readTextFileSync(dir + "/file.txt"),
       Deno.env.get("STAGE_SECRET"),
       await (await fetch("http://127.0.0.1:${server.addr.port}")).text(),
       new TextDecoder().decode(program.stdout).trim(),
       Deno.makeTempFileSync().startsWith("/"),
       stage.runtimes.engine.name,
       Deno.env.get("ENGINE_MODE"),
     ].join();`,
    {
      rest:
        `needs: ["engine"], permissions: { net: true, env: ["STAGE_SECRET"], run: ["echo"], write: () => [${
          JSON.stringify(project.path("given"))
        }] },`,
    },
  );
  let prepared = 0;
  const { summary } = await project.run({ guest: { task: "guest" } }, {
    runtimes: {
      engine: () =>
        Promise.resolve({
          identity: "engine 1",
          settings: { name: "engine" },
          flags: [],
          read: [],
          env: { ENGINE_MODE: "fast" },
          prepare: () => Promise.resolve(void prepared++),
        }),
    },
  });
  assertEquals(summary.ran, 1);
  assertEquals(prepared, 1);
  assertEquals(
    project.read("out/test/guest/out.txt"),
    "read,env,net,run,true,engine,fast",
  );
});

Deno.test("run() lets a runtime take what a stage hands on, if the stage succeeds, and says why it could not", async () => {
  using project = new TestProject();
  project.write("earlier.txt", "earlier");
  const needs = { rest: 'needs: ["engine"],' };
  project.task(
    "compiles",
    `const { earlier, own } = stage.runtimes.engine;
     Deno.mkdirSync(own);
     Deno.writeTextFileSync(own + "/code", "compiled");
     return Deno.readTextFileSync(earlier);`,
    needs,
  );
  project.task(
    "fails",
    `Deno.mkdirSync(stage.runtimes.engine.own); throw new Error("x");`,
    needs,
  );
  project.task("nothing", "return 1;", needs);
  const earlier = project.path("earlier.txt");
  const taken: string[] = [];
  const settings = engine("engine 1", {
    sharedFiles: {
      title: "Compiled code",
      settings: (own) => ({ earlier, own }),
      read: [earlier],
      keep: async (folder) => {
        taken.push(await Deno.readTextFile(`${folder}/code`));
      },
    },
  });
  const { summary, events } = await project.run({
    compiles: { task: "compiles" },
    fails: { task: "fails" },
    nothing: { task: "nothing" },
  }, settings);
  assertEquals([summary.ran, summary.failed], [2, 1]);
  assertEquals(project.read("out/test/compiles/out.txt"), "earlier");
  assertEquals(taken, ["compiled"]);
  const lines = events.filter((it) => it.type === "log").map((it) =>
    `${it.stage}: ${it.line}`
  );
  assertMatch(
    lines.join("\n"),
    /^nothing: Compiled code is not kept for later stages: .*No such file/m,
  );
});

Deno.test("run() fails a stage that needs a path with a comma", async () => {
  using project = new TestProject();
  project.write("a,b.txt", "data");
  project.task("read", "return Deno.readTextFileSync(params.data);", {
    rest: "sources: (params: any) => ({ data: params.data }),",
  });
  const { summary, events } = await project.run({
    read: { task: "read", params: { data: "a,b.txt" } },
  });
  assertEquals(summary.failed, 1);
  const errors = events.flatMap((event) =>
    event.type === "failed" ? [event.message] : []
  );
  assertMatch(
    errors.join(),
    /Deno cannot give a stage access to a path with a comma: copy or rename ".*a,b\.txt"/,
  );
});
