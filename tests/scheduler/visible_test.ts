import { assertEquals } from "@std/assert";
import { replaceFolder } from "../../lib/scheduler/visible.ts";
import { TemporaryFolder } from "../store/temporary_folder.ts";

/** Elsewhere, folders cannot be swapped atomically. */
const ignore = !["linux", "darwin"].includes(Deno.build.os);

Deno.test(
  "replaceFolder() leaves no moment without a folder",
  { ignore },
  async () => {
    using folder = new TemporaryFolder();
    folder.write("shown/x.txt", "0");
    // Looks as often as it can, and counts how often the folder is missing.
    const watcher = new Deno.Command("sh", {
      args: [
        "-c",
        'missed=0; while [ ! -e "$1" ]; do [ -e "$0" ] || missed=$((missed + 1)); done; echo $missed',
        folder.join("shown/x.txt"),
        folder.join("stop"),
      ],
      stdout: "piped",
    }).spawn();
    for (let i = 1; i <= 100; i++) {
      folder.write(`fresh${i}/x.txt`, String(i));
      replaceFolder(
        folder.join("shown"),
        folder.join(`fresh${i}`),
        () => folder.join(`old${i}`),
      );
      if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    folder.write("stop", "");
    const { stdout } = await watcher.output();
    assertEquals(new TextDecoder().decode(stdout).trim(), "0");
    assertEquals(Deno.readTextFileSync(folder.join("shown/x.txt")), "100");
  },
);
