import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { EngineChoice } from "../../../lib/engine/install/choice.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { RemediedError } from "../../../lib/pypi/remedied_error.ts";
import { DRIVER, fakeHost, LIBCUDA } from "./fake_host.ts";

const GPU = { name: "A GPU", software: false };
const LAVAPIPE = { name: "llvmpipe", software: true };
const WINDOWS = "x86_64-pc-windows-msvc";

Deno.test("selectEngine() takes tensorflow for auto on supported platforms", async () => {
  const { prepare: _, ...choice } = await selectEngine("auto", fakeHost());
  assertEquals(choice, {
    engine: "tensorflow",
    device: "cpu",
    reason: "libtensorflow on the CPU: no NVIDIA driver found",
    identity: "tensorflow 2.21.0 linux-x86_64 cpu 505342f95b7aa8c8",
    library:
      "/home/u/.cache/dylora/libtensorflow-2.21.0-linux-x86_64-cpu/tensorflow",
    flags: ["--allow-ffi"],
    read: ["/home/u/.cache/dylora/libtensorflow-2.21.0-linux-x86_64-cpu"],
    env: {},
  });
  const identities = await Promise.all(
    ["aarch64-unknown-linux-gnu", "aarch64-apple-darwin"].map(async (target) =>
      (await selectEngine("auto", fakeHost({ target }))).identity
    ),
  );
  assertEquals(identities, [
    "tensorflow 2.21.0 linux-aarch64 cpu 77713589099da8bf",
    "tensorflow 2.21.0 macos-arm64 cpu 7d0544ceda3e5b02",
  ]);
});

Deno.test("selectEngine() takes the CUDA build if there is an NVIDIA driver", async () => {
  const env = { CUDA_VISIBLE_DEVICES: "1", XLA_FLAGS: "not handed on" };
  const files = { ...DRIVER, ...LIBCUDA };
  const choice = await selectEngine("auto", fakeHost({ files, env }));
  assertEquals(choice.device, "gpu");
  assertEquals(
    choice.identity,
    "tensorflow 2.21.0 linux-x86_64 cuda 744d8c8badf1fb5b",
  );
  assertEquals(
    choice.reason,
    "libtensorflow on the GPU: NVIDIA driver 550 found",
  );
  assertEquals(Object.keys(choice.env), [
    "CUDA_CACHE_PATH",
    "CUDA_CACHE_MAXSIZE",
    "CUDA_VISIBLE_DEVICES",
  ]);
  const hidden = await selectEngine(
    "auto",
    fakeHost({ files, env: { CUDA_VISIBLE_DEVICES: "-1" } }),
  );
  assertEquals(
    hidden.identity,
    "tensorflow 2.21.0 linux-x86_64 cpu 505342f95b7aa8c8",
  );
  const arm = await selectEngine(
    "auto",
    fakeHost({ target: "aarch64-unknown-linux-gnu", files }),
  );
  assertMatch(arm.reason, /on the CPU: CUDA is supported on Linux x86-64 only/);
});

/** Machines that cannot run tensorflow, and what `auto` takes there and why. */
const FALLBACKS: Readonly<
  Record<
    string,
    readonly [
      host: Parameters<typeof fakeHost>[0],
      expected: Partial<EngineChoice>,
      reason: RegExp,
    ]
  >
> = {
  "with a GPU": [
    { target: WINDOWS, adapter: GPU },
    { engine: "webgpu" },
    /^WebGPU on A GPU; not tensorflow: There is no libtensorflow that can be loaded on "x86_64-pc-windows-msvc"/,
  ],
  "with a software adapter": [
    { target: WINDOWS, adapter: LAVAPIPE },
    { engine: "wasm" },
    /not webgpu: The only WebGPU adapter, "llvmpipe", is a software one/,
  ],
  "without an adapter": [
    { target: "x86_64-apple-darwin" },
    { engine: "wasm", identity: "wasm tfjs 4.22.0" },
    /"x86_64-apple-darwin"; not webgpu: No WebGPU adapter was found$/,
  ],
};

for (const [what, [host, expected, reason]] of Object.entries(FALLBACKS)) {
  Deno.test(`selectEngine() falls back to ${expected.engine} for auto ${what}, and says why`, async () => {
    const choice = await selectEngine("auto", fakeHost(host));
    assertEquals({ ...choice, ...expected }, choice);
    assertMatch(choice.reason, reason);
  });
}

Deno.test("selectEngine() rejects a requested engine that cannot run here", async () => {
  const assertUnsupported = async (
    choice: () => Promise<EngineChoice>,
    remedy: RegExp,
  ) => {
    const error = await assertRejects(choice, RemediedError);
    assertMatch(error.remedy, remedy);
  };
  for (
    const target of [
      WINDOWS,
      "x86_64-apple-darwin",
      "x86_64-unknown-linux-musl",
      "riscv64-unknown-linux-gnu",
    ]
  ) {
    await assertUnsupported(
      () => selectEngine("tensorflow", fakeHost({ target })),
      /--engine wasm/,
    );
  }
  await assertUnsupported(
    () => selectEngine("webgpu", fakeHost()),
    /Vulkan driver/,
  );
});

Deno.test("selectEngine() takes a software adapter only if webgpu is requested", async () => {
  const { identity, device } = await selectEngine(
    "webgpu",
    fakeHost({ adapter: LAVAPIPE }),
  );
  assertEquals(identity, "webgpu tfjs 4.22.0 llvmpipe");
  assertEquals(device, "cpu");
});

Deno.test("prepare() fails if the library cannot be installed, and names WebAssembly", async () => {
  // The cache would lie below a file.
  const file = await Deno.makeTempFile();
  const host = fakeHost({ env: { DYLORA_CACHE: `${file}/cache` } });
  for (const request of ["auto", "tensorflow"] as const) {
    const { prepare } = await selectEngine(request, host);
    const { message, remedy } = await assertRejects(
      () => prepare(),
      RemediedError,
    );
    assertMatch(message, /^Cannot write to ".*\/cache"/);
    assertMatch(remedy, /Make the folder writable, .*\n.* --engine wasm$/);
  }
  await Deno.remove(file);
});

Deno.test("prepare() says nothing of other engines when it is interrupted", async () => {
  const folder = await Deno.makeTempDir();
  const choice = await selectEngine(
    "auto",
    fakeHost({ env: { DYLORA_CACHE: folder } }),
  );
  await assertRejects(
    () => choice.prepare({ signal: AbortSignal.abort() }),
    DOMException,
    "aborted",
  );
  await Deno.remove(folder, { recursive: true });
});
