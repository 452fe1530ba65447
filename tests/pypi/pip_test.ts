import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InstallError } from "../../lib/pypi/install_error.ts";
import { findPip } from "../../lib/pypi/pip.ts";
import { fakePython } from "./fake_python.ts";

const posix = { ignore: Deno.build.os === "windows" };

function pipOf(version: string): string {
  return `echo "pip ${version} from /somewhere (python 3.11)"`;
}

Deno.test(
  "findPip() takes the first Python whose pip works and is recent",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    await fakePython(
      `${folder}/none`,
      'echo "No module named pip" >&2; exit 1',
    );
    await fakePython(`${folder}/old`, pipOf("19.3.1"));
    const python = await fakePython(`${folder}/good`, pipOf("24.0"));
    await fakePython(`${folder}/later`, pipOf("25.1"));
    const path = ["missing", "none", "old", "good", "later"].map((name) =>
      `${folder}/${name}`
    ).join(":");
    assertEquals(await findPip(path), { python, version: "24.0" });
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "findPip() says what to install when there is no Python, no pip, or an old one",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const rejects = async (path: string, code: string, message: RegExp) => {
      const error = await assertRejects(() => findPip(path), InstallError);
      assertEquals(error.code, code);
      assertMatch(error.message, message);
    };
    await rejects(
      "",
      "no-pip",
      /Python is not found on PATH\nInstall Python 3 with pip/,
    );
    await fakePython(`${folder}/none`, "exit 1");
    await rejects(
      `${folder}/none`,
      "no-pip",
      /Python has no pip \(asked: ".*none\/python3"\)\nInstall/,
    );
    await fakePython(`${folder}/old`, pipOf("9.0.3"));
    await rejects(
      `${folder}/none:${folder}/old`,
      "old-pip",
      /pip 9.0.3 .* is too old: 20.3 or later is needed\nUpdate it: .*old\/python3 -m pip install --upgrade pip/,
    );
    await Deno.remove(folder, { recursive: true });
  },
);
