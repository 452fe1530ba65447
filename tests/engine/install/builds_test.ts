import { assert, assertEquals, assertMatch } from "@std/assert";
import { createHash } from "node:crypto";
import {
  builds,
  folderName,
  isNeeded,
} from "../../../lib/engine/install/builds.ts";
import { TFJS_VERSION } from "../../../lib/engine/install/choose.ts";

Deno.test("builds are pinned: every wheel has a name, a hash and sizes", () => {
  for (const build of builds) {
    const [library, ...cuda] = build.wheels;
    assertMatch(library!.name, /^tensorflow(-cpu)?$/);
    assertEquals(library!.version, build.version);
    assertEquals(build.version, builds[0]!.version);
    assertEquals(cuda.length, build.device === "cuda" ? 12 : 0);
    for (const { name } of cuda) assertMatch(name, /^nvidia-[a-z-]+-cu12$/);
    for (const wheel of build.wheels) {
      assertMatch(wheel.sha256, /^[0-9a-f]{64}$/);
      assertMatch(wheel.tag, /^(cp311-cp311|py3-none)-\w+(\.\w+)?$/);
      assert(wheel.bytes > 1e6 && wheel.unpacked > 5e5, wheel.name);
    }
  }
  for (const { digest, wheels } of builds) {
    const lines = wheels.map(({ sha256 }) => `${sha256}\n`).join("");
    const hash = createHash("sha256").update(lines).digest("hex");
    assertEquals(digest, hash);
  }
  const names = builds.map(folderName);
  assertEquals(new Set(names).size, names.length);
  assert(names.includes("libtensorflow-2.21.0-linux-x86_64-cpu"));
});

Deno.test("isNeeded() takes libraries, CUDA's compiler and licences, and nothing else", () => {
  const needed = [
    "tensorflow/libtensorflow_cc.so.2",
    "tensorflow/libtensorflow_framework.2.dylib",
    "tensorflow/THIRD_PARTY_NOTICES.txt",
    "nvidia/cublas/lib/libcublasLt.so.12",
    "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9",
    "nvidia/cuda_nvcc/bin/ptxas",
    "nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc",
    "nvidia_nccl_cu12-2.32.3.dist-info/licenses/License.txt",
  ];
  const others = [
    "tensorflow/python/_pywrap_tensorflow_internal.so",
    "nvidia/cublas/include/cublas.h",
    "nvidia/cuda_runtime/lib/libcudart_static.a",
    "nvidia/cublas/__init__.py",
    "nvidia_nccl_cu12-2.32.3.dist-info/RECORD",
  ];
  assertEquals(needed.filter((path) => !isNeeded(path)), []);
  assertEquals(others.filter(isNeeded), []);
});

Deno.test("TFJS_VERSION is the release that the project imports", async () => {
  const { imports } = JSON.parse(
    await Deno.readTextFile(new URL("../../../deno.json", import.meta.url)),
  );
  for (
    const name of [
      "tfjs",
      "tfjs-core",
      "tfjs-node-gpu",
      "tfjs-backend-wasm",
      "tfjs-backend-webgpu",
    ]
  ) {
    assertEquals(
      imports[`@tensorflow/${name}`],
      `npm:@tensorflow/${name}@${TFJS_VERSION}`,
    );
  }
});
