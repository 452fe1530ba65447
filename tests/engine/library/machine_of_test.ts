import { assertEquals } from "@std/assert";
import { machineOf } from "../../../lib/engine/library/machine_of.ts";

async function machineOfBytes(bytes: readonly number[]) {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeFile(file, Uint8Array.from(bytes));
    return await machineOf(file);
  } finally {
    await Deno.remove(file);
  }
}

Deno.test({
  name: "machineOf() reads the runtime's own processor from its program",
  ignore: Deno.build.os === "windows",
  fn: async () =>
    assertEquals(await machineOf(Deno.execPath()), Deno.build.arch),
});

Deno.test("machineOf() tells processors apart", async () => {
  const elf = [
    0x7f,
    0x45,
    0x4c,
    0x46,
    2,
    1,
    1,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    3,
    0,
  ];
  assertEquals(await machineOfBytes([...elf, 62, 0]), "x86_64");
  assertEquals(await machineOfBytes([...elf, 183, 0]), "aarch64");
  assertEquals(await machineOfBytes([...elf, 8, 0]), "ELF machine 8");
  const machO = [0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1, ...Array(12).fill(0)];
  assertEquals(await machineOfBytes(machO), "aarch64");
});

Deno.test("machineOf() knows nothing of other files", async () => {
  assertEquals(await machineOfBytes([]), undefined);
  assertEquals(await machineOfBytes(Array(20).fill(0)), undefined);
  // 32-bit ELF.
  assertEquals(
    await machineOfBytes([0x7f, 0x45, 0x4c, 0x46, 1, 1, ...Array(14).fill(3)]),
    undefined,
  );
});
