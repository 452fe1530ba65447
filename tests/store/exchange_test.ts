import { assertEquals } from "@std/assert";
import { replaceFolder } from "../../lib/scheduler/visible.ts";
import { exchange } from "../../lib/store/files.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

/** Only there does this machine's C library have what it takes. */
const ignore = !["linux", "darwin"].includes(Deno.build.os);

Deno.test(
  "exchange() makes folders change places, and does nothing if one is missing",
  { ignore },
  () => {
    using folder = new TemporaryFolder();
    const [a, b] = [folder.write("a/x.txt", "a"), folder.write("b/x.txt", "b")];
    assertEquals(exchange(folder.join("a"), folder.join("b")), true);
    assertEquals([a, b].map((it) => Deno.readTextFileSync(it)), ["b", "a"]);
    assertEquals(exchange(folder.join("a"), folder.join("none")), false);
    assertEquals(Deno.readTextFileSync(a), "b");
  },
);

Deno.test(
  "replaceFolder() never leaves the place empty",
  { ignore },
  async () => {
    using folder = new TemporaryFolder();
    folder.write("shown/x.txt", "0");
    // Looks as fast as it can, and counts how often it found nothing.
    const watcher = new Deno.Command("sh", {
      args: [
        "-c",
        'missed=0; while [ ! -e "$1" ]; do [ -e "$0" ] || missed=$((missed + 1)); done; echo $missed',
        folder.join("shown/x.txt"),
        folder.join("stop"),
      ],
      stdout: "piped",
    }).spawn();
    for (let i = 1; i <= 300; i++) {
      folder.write(`fresh${i}/x.txt`, String(i));
      replaceFolder(folder.join("shown"), folder.join(`fresh${i}`));
      if (i % 30 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    folder.write("stop", "");
    const { stdout } = await watcher.output();
    assertEquals(new TextDecoder().decode(stdout).trim(), "0");
    assertEquals(Deno.readTextFileSync(folder.join("shown/x.txt")), "300");
  },
);
