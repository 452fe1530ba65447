import { join } from "node:path";
import type {
  LibraryBuild,
  PinnedWheel,
} from "../../../lib/engine/install/builds.ts";
import { fakePython, pipWith } from "../../pypi/fake_python.ts";
import { findLinks, makeWheel } from "../../pypi/make_wheel.ts";

const TENSORFLOW = "tensorflow-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl";
const CUBLAS =
  "nvidia_cublas_cu12-12.9.3.13-py3-none-manylinux_2_27_x86_64.whl";
const NVCC =
  "nvidia_cuda_nvcc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl";

/**
 * A build of a few kilobytes with the layout of the real ones, a pip that serves
 * its wheels from a folder, and a program that copies them when it is called as
 * pip is, in no time.
 */
export async function smallBuild(
  folder: string,
  { device = "cpu" }: { device?: "cpu" | "cuda" } = {},
): Promise<{ build: LibraryBuild; pip: string; copier: string }> {
  const wheels = join(folder, "wheels");
  await Deno.mkdir(wheels, { recursive: true });
  const pinned: PinnedWheel[] = [];
  const add = async (
    file: string,
    members: Record<string, string>,
    executable: readonly string[] = [],
  ) => {
    const { sha256, bytes } = await makeWheel(
      wheels,
      file,
      members,
      executable,
    );
    const [name, version, ...tag] = file.replace(/\.whl$/, "").split("-");
    pinned.push({
      name: name!.replaceAll("_", "-"),
      version: version!,
      tag: tag.join("-"),
      sha256,
      bytes,
      unpacked: 3000,
    });
  };
  await add(TENSORFLOW, {
    "tensorflow/__init__.py": "raise",
    "tensorflow/libtensorflow_framework.so.2": "library",
    "tensorflow/libtensorflow_cc.so.2": "x".repeat(2000),
    "tensorflow/THIRD_PARTY_NOTICES.txt": "notices",
  });
  if (device === "cuda") {
    await add(CUBLAS, {
      "nvidia/__init__.py": "",
      "nvidia/cublas/include/cublas.h": "",
      "nvidia/cublas/lib/libcublas.so.12": "library",
      "nvidia/cublas/lib/libcublasLt.so.12": "library",
    });
    await add(NVCC, {
      "nvidia/__init__.py": "",
      "nvidia/cuda_nvcc/bin/ptxas": "library",
      "nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc": "code",
    }, ["nvidia/cuda_nvcc/bin/ptxas"]);
  }
  const build: LibraryBuild = {
    version: "2.21.0",
    platform: "linux-x86_64",
    device,
    digest: "0".repeat(64),
    wheels: pinned,
  };
  const pip = await pipWith(join(folder, "bin"), {
    PIP_NO_INDEX: "1",
    PIP_FIND_LINKS: findLinks(wheels),
  });
  // Called with: -m pip download --requirement FILE --dest FOLDER ...
  const copying = `name=$(sed 's/==.*//' "$5" | tr - _)
mkdir "$7" && cp "${wheels}"/$name-*.whl "$7"`;
  const copier = await fakePython(join(folder, "copier"), copying);
  return { build, pip, copier };
}
