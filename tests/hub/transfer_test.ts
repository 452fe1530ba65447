import { assert, assertEquals } from "@std/assert";
import { fetchFiles } from "../../lib/hub/fetch_files.ts";
import type { RetryPolicy } from "../../lib/hub/requests.ts";
import {
  assertRemedied,
  assertRight,
  model,
  request,
  retry,
  weights,
  withHub,
} from "./tiny_repository.ts";

/** Endless or slow limits are reached within a second. */
const hurried: RetryPolicy = { ...retry, retries: 2, idleTimeout: 300 };

/** A body that repeats a chunk, one at a time with a pause. */
function drip(chunk: Uint8Array, pause: number): ReadableStream<Uint8Array> {
  let timer: ReturnType<typeof setTimeout>;
  return new ReadableStream({
    pull: (controller) =>
      new Promise((resolve) => {
        timer = setTimeout(() => {
          controller.enqueue(chunk);
          resolve();
        }, pause);
      }),
    cancel: () => clearTimeout(timer),
  });
}

/** 64 MiB of zeros, of which gzip has made a thousandth. */
const bomb = new Response(
  new Blob([new Uint8Array(64 << 20)]).stream()
    .pipeThrough(new CompressionStream("gzip")),
).bytes();

/** Milliseconds that a function takes. */
async function timeOf(body: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await body();
  return performance.now() - started;
}

for (const path of ["/revision/", "/paths-info/"]) {
  Deno.test(
    `fetchFiles() refuses an endless answer to ${path}, plain or compressed`,
    withHub([model], async (hub, settings) => {
      const body = await bomb;
      const headers = { "content-encoding": "gzip" };
      for (
        const answer of [
          () => new Response(drip(new Uint8Array(1 << 20).fill(32), 0)),
          () => new Response(body, { headers }),
        ]
      ) {
        hub.breakWith((seen) =>
          seen.path.includes(path) ? answer() : undefined
        );
        await assertRemedied(
          () => fetchFiles(request, { settings, retry }),
          /answer to .* has more than 8 MiB/,
          /HF_ENDPOINT/,
        );
      }
    }),
  );

  Deno.test(
    `fetchFiles() gives up on an answer to ${path} that comes byte by byte`,
    withHub([model], async (hub, settings) => {
      hub.breakWith((seen) =>
        seen.path.includes(path)
          ? new Response(drip(new Uint8Array([32]), 50))
          : undefined
      );
      const time = await timeOf(() =>
        assertRemedied(
          () => fetchFiles(request, { settings, retry: hurried }),
          /no response within 0.3 s|broke off/,
        )
      );
      assert(time < 5000, `${time} ms`);
    }),
  );

  Deno.test(
    `fetchFiles() names the hub when its answer to ${path} is not the hub's`,
    withHub([model], async (hub, settings) => {
      for (
        const text of ["<html>Log in</html>", "null", "{}", '"', "[null]", ""]
      ) {
        hub.breakWith((seen) =>
          seen.path.includes(path) ? new Response(text) : undefined
        );
        await assertRemedied(
          () => fetchFiles(request, { settings, retry }),
          /The hub at .* gives/,
          /HF_ENDPOINT/,
        );
      }
    }),
  );
}

Deno.test(
  "fetchFiles() gives up on a download that starts over with each connection",
  withHub([model], async (hub, settings) => {
    hub.breakWith(({ host }) =>
      host === "cdn" ? new Response(weights.slice(0, 1)) : undefined
    );
    const time = await timeOf(() =>
      assertRemedied(
        () =>
          fetchFiles(request, {
            settings,
            retry: { ...hurried, pause: 20 },
          }),
        /stopped after \d+ of 300000 bytes: the connection was closed/,
        /resume/,
      )
    );
    assert(time < 10_000, `${time} ms`);
  }),
);

Deno.test(
  "fetchFiles() takes no more of a compressed download than the announced size",
  withHub([model], async (hub, settings) => {
    const body = await bomb;
    const headers = { "content-encoding": "gzip" };
    hub.breakWith(({ host }) =>
      host === "cdn" ? new Response(body, { headers }) : undefined
    );
    let most = 0;
    await assertRemedied(
      () =>
        fetchFiles(request, {
          settings,
          retry,
          onProgress: (bytes) => most = Math.max(most, bytes),
        }),
      /does not match the size and hash/,
    );
    assert(most < 1 << 20, `${most} bytes`);
  }),
);

Deno.test(
  "fetchFiles() pauses between attempts when the hub asks for none, and fails at once when it asks for a long one",
  withHub([model], async (hub, settings) => {
    const refuse = async (wait: string, where: (host: string) => boolean) => {
      let refusals = 0;
      hub.breakWith(({ host }) =>
        where(host)
          ? (refusals++,
            new Response("", { status: 429, headers: { "retry-after": wait } }))
          : undefined
      );
      const time = await timeOf(() =>
        assertRemedied(
          () =>
            fetchFiles(request, {
              settings,
              retry: { ...retry, pause: 50 },
            }),
          /status 429/,
        )
      );
      return { refusals, time };
    };
    for (const wait of ["0", "Wed, 01 Jan 2020 00:00:00 GMT", "-5"]) {
      const { refusals, time } = await refuse(wait, () => true);
      assertEquals(refusals, 4);
      assert(time > 50 + 100 + 200, `${time} ms`);
    }
    for (const wait of ["86400", "Fri, 01 Jan 2100 00:00:00 GMT"]) {
      for (const host of ["hub", "cdn"]) {
        const { refusals } = await refuse(wait, (it) => it === host);
        assertEquals(refusals, 1, host);
      }
    }
  }),
);

for (
  const location of [
    "file:///etc/passwd",
    "data:text/plain,x",
    "ftp://example.org/x",
    "http://[",
  ]
) {
  Deno.test(
    `fetchFiles() refuses a redirect to ${location} at once`,
    withHub([model], async (hub, settings) => {
      for (const part of ["/revision/", "/resolve/"]) {
        let redirects = 0;
        hub.breakWith(({ path }) =>
          path.includes(part)
            ? (redirects++,
              new Response(null, { status: 302, headers: { location } }))
            : undefined
        );
        await assertRemedied(
          () => fetchFiles(request, { settings, retry }),
          /Cannot reach the hub at .*: /,
        );
        assertEquals(redirects, 1);
      }
    }),
  );
}

Deno.test(
  "fetchFiles() tries again when an answer breaks off",
  withHub([model], async (hub, settings) => {
    let broken = 0;
    hub.breakWith(({ path }) => {
      if (!path.includes("/revision/") || broken++ > 0) return undefined;
      const body = new ReadableStream({
        start: (controller) => {
          controller.enqueue(new TextEncoder().encode('{"sha": '));
          setTimeout(() => controller.error("the test breaks off"), 20);
        },
      });
      return new Response(body);
    });
    const { files } = await fetchFiles(request, { settings, retry });
    await assertRight(files);
    assertEquals(broken, 2);
  }),
);

Deno.test("fetchFiles() tries once more, and not for a minute, where no hub has ever responded", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const lines: string[] = [];
  const settings = {
    endpoint: `http://127.0.0.1:${port}`,
    offline: false,
    cache: Deno.makeTempDirSync(),
  };
  try {
    await assertRemedied(
      () =>
        fetchFiles(request, {
          settings,
          retry: { ...hurried, retries: 6 },
          log: (line) => lines.push(line),
        }),
      /^Cannot reach the hub at /,
      /HF_ENDPOINT/,
    );
    assertEquals(lines.length, 1);
    assert(lines[0]!.endsWith("; try 2 of 2 in 1 s"), lines[0]);
  } finally {
    Deno.removeSync(settings.cache, { recursive: true });
  }
});
