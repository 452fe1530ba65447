import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  fail,
} from "@std/assert";
import { basename, join, relative } from "node:path";
import { isFull } from "../../lib/files/files.ts";
import { RemediedError } from "../../lib/pypi/remedied_error.ts";
import {
  downloadWheel,
  findPip,
  type WheelRequest,
} from "../../lib/pypi/pip.ts";
import { fakePython, pipWith } from "./fake_python.ts";
import { withEnvironment } from "../environment.ts";
import { findLinks, makeWheel } from "./make_wheel.ts";

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
    assertEquals(await findPip(path), python);
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "findPip() says what to install when there is no Python, no pip, or an old one",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const rejects = async (path: string, message: RegExp) => {
      const error = await assertRejects(() => findPip(path), RemediedError);
      assertMatch(error.message, message);
    };
    await rejects(
      "",
      /Cannot find Python on PATH\nInstall Python 3 with pip/,
    );
    await fakePython(`${folder}/none`, "exit 1");
    await rejects(
      `${folder}/none`,
      /No Python on PATH has pip \(tried ".*none\/python3"\)\nInstall/,
    );
    await fakePython(`${folder}/old`, pipOf("9.0.3"));
    await rejects(
      `${folder}/none:${folder}/old`,
      /pip 9.0.3 .* is too old; version 20.3 or later is required\nUpdate it: .*old\/python3 -m pip install --upgrade pip/,
    );
    await Deno.remove(folder, { recursive: true });
  },
);

/**
 * A wheel for a platform on which no test runs, so that pip takes it only if
 * told the platform.
 */
const TAG = "cp39-cp39-manylinux2014_s390x.manylinux_2_17_s390x";
const FILE = `dylora_thing-1.0-${TAG}.whl`;
const REQUEST = { name: "dylora-thing", version: "1.0", tag: TAG };
/** A port on which nothing listens. */
const NOWHERE = "127.0.0.1:9";

async function failure(
  request: WheelRequest,
  pip: string,
  signal?: AbortSignal,
): Promise<RemediedError> {
  const error = await errorOf(request, pip, signal);
  assertInstanceOf(error, RemediedError, String(error));
  return error;
}

async function errorOf(
  request: WheelRequest,
  pip: string,
  signal?: AbortSignal,
) {
  const folder = await Deno.makeTempDir();
  try {
    await downloadWheel(request, folder, { pip, signal });
  } catch (error) {
    return error;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  fail("The download should have failed");
}

Deno.test(
  "downloadWheel() downloads a wheel for another platform and checks its hash",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const { sha256 } = await makeWheel(folder, FILE, { "thing/a.txt": "a" });
    const pip = await pipWith(`${folder}/bin`, {
      PIP_NO_INDEX: "1",
      PIP_FIND_LINKS: findLinks(folder),
    });

    await Deno.mkdir(`${folder}/to`);
    const path = await downloadWheel({ ...REQUEST, sha256 }, `${folder}/to`, {
      pip,
    });
    assertEquals(basename(path), FILE);

    const wrong = await failure({ ...REQUEST, sha256: "0".repeat(64) }, pip);
    assertMatch(
      wrong.message,
      /^pip cannot download dylora-thing==1.0: the downloaded file does not have the expected SHA-256 hash/,
    );

    const missing = await failure({ ...REQUEST, version: "1.1" }, pip);
    assertMatch(missing.message, /==1.1: its package index does not have it/);
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "downloadWheel() finds relative paths of the user's variables from the project",
  posix,
  async () => {
    const project = join(import.meta.dirname!, "../..");
    await Deno.mkdir(`${project}/out`, { recursive: true });
    // Below the project, so that the relative path has no space, at which pip
    // splits it.
    const folder = await Deno.makeTempDir({ dir: `${project}/out` });
    await Deno.mkdir(`${folder}/wheels`);
    await makeWheel(`${folder}/wheels`, FILE, { "thing/a.txt": "a" });
    await Deno.writeTextFile(
      `${folder}/pip.conf`,
      "[global]\nno-index = true\n",
    );
    await Deno.mkdir(`${folder}/to`);
    const path = await withEnvironment(
      {
        PIP_FIND_LINKS: relative(project, `${folder}/wheels`),
        PIP_CONFIG_FILE: relative(project, `${folder}/pip.conf`),
      },
      () => downloadWheel(REQUEST, `${folder}/to`),
    );
    assertEquals(basename(path), FILE);
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "downloadWheel() gives advice when the network or the proxy does not respond",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const quick = {
      PIP_RETRIES: "1",
      PIP_CONFIG_FILE: "/dev/null",
      PIP_FIND_LINKS: "",
    };
    const offline = await failure(
      REQUEST,
      await pipWith(`${folder}/offline`, {
        ...quick,
        PIP_INDEX_URL: `http://${NOWHERE}/simple`,
      }),
    );
    assertMatch(offline.problem, /the package index does not respond$/);
    assertMatch(offline.remedy, /PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER/);
    const proxy = await failure(
      REQUEST,
      await pipWith(`${folder}/proxy`, {
        ...quick,
        PIP_INDEX_URL: "https://example.invalid/simple",
        PIP_PROXY: `http://${NOWHERE}`,
      }),
    );
    assertMatch(proxy.problem, /the package index does not respond$/);
    assertMatch(proxy.remedy, /HTTPS_PROXY/);
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test("downloadWheel() explains what pip reports", posix, async () => {
  const folder = await Deno.makeTempDir();
  const reports = {
    "does not trust the server's certificate":
      "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed'))",
    "does not respond":
      "ReadTimeoutError(\"HTTPSConnectionPool(host='index', port=443): Read timed out.\")",
    "denies access":
      "ERROR: HTTP error 401 while getting https://index/thing.whl: 401 Client Error: Unauthorized",
    "nobody has seen before": "ERROR: Something that nobody has seen before",
  };
  const pipThatSays = (report: string) =>
    fakePython(
      `${folder}/${crypto.randomUUID()}`,
      `cat >&2 <<'END'\n${report}\nEND\nexit 1`,
    );
  for (const [problem, report] of Object.entries(reports)) {
    const error = await failure(REQUEST, await pipThatSays(report));
    assertStringIncludes(error.problem, problem);
    assertNotEquals(error.remedy, "");
  }
  const full = "OSError: [Errno 28] No space left on device";
  assert(isFull(await errorOf(REQUEST, await pipThatSays(full))));
  await Deno.remove(folder, { recursive: true });
});

Deno.test(
  "downloadWheel() stops pip when it is interrupted",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const python = await fakePython(folder, "exec sleep 60");
    const signal = AbortSignal.timeout(200);
    assertEquals(await errorOf(REQUEST, python, signal), signal.reason);
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "downloadWheel() reports the number of bytes received",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const python = await fakePython(
      `${folder}/bin`,
      `head -c 5000 /dev/zero > "$TMPDIR/part"; sleep 0.6; cd "$TMPDIR/.."; mkdir whole; mv partial/part whole/thing.whl`,
    );
    await Deno.mkdir(`${folder}/to`);
    const seen: number[] = [];
    await downloadWheel(REQUEST, `${folder}/to`, {
      pip: python,
      onBytes: (bytes) => seen.push(bytes),
    });
    assert(seen.includes(5000), String(seen));
    await Deno.remove(folder, { recursive: true });
  },
);
