import { assertEquals, assertThrows } from "@std/assert";
import { parseWheelName } from "../../lib/pypi/wheel_name.ts";

Deno.test("parseWheelName() takes a name with several platforms apart", () => {
  const name =
    "nvidia_cuda_nvcc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl";
  assertEquals(parseWheelName(name), {
    name: "nvidia-cuda-nvcc-cu12",
    version: "12.9.86",
    python: "py3",
    abi: "none",
    platforms: ["manylinux2010_x86_64", "manylinux_2_12_x86_64"],
  });
});

Deno.test("parseWheelName() passes over a build number", () => {
  assertEquals(parseWheelName("a-1.0-2b-cp311-cp311-any.whl").python, "cp311");
});

Deno.test("parseWheelName() refuses what is no wheel", () => {
  for (const name of ["a-1.0.tar.gz", "a-1.0-py3-none.whl", "a.whl", ""]) {
    assertThrows(
      () => parseWheelName(name),
      Error,
      "is not the name of a wheel",
    );
  }
});
