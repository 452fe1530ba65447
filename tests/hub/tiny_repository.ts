import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { HubSettings } from "../../lib/hub/settings.ts";
import { RemediedError } from "../../lib/pypi/remedied_error.ts";
import type { RetryPolicy } from "../../lib/hub/requests.ts";
import { withFolder } from "../tasks/run_task.ts";
import { LocalHub, type ServedRepository, sha256 } from "./local_hub.ts";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const weights = Uint8Array.from(
  { length: 300_000 },
  (_, i) => i * 31 >> 3,
);
export const config = new TextEncoder().encode('{"model_type":"roberta"}');

export const model: ServedRepository = {
  id: "models/org/tiny",
  commit: COMMIT,
  files: new Map([["config.json", config], ["model.safetensors", weights]]),
};

export const request = {
  repository: { type: "model", name: "org/tiny" },
  revision: "main",
  required: ["config.json", "model.safetensors"],
  optional: ["vocab.txt"],
} as const;

export const retry: RetryPolicy = {
  retries: 3,
  pause: 5,
  idleTimeout: 2000,
};

/** Calls a function with a hub and an empty cache. */
export function withHub(
  repositories: readonly ServedRepository[],
  body: (hub: LocalHub, settings: HubSettings) => Promise<void>,
): () => Promise<void> {
  return () =>
    withFolder(async (cache) => {
      await using hub = new LocalHub(repositories);
      await body(hub, { endpoint: hub.endpoint, cache, offline: false });
    });
}

export const repositoryIn = (cache: string) => join(cache, "models--org--tiny");
export const weightsIn = (cache: string) =>
  join(repositoryIn(cache), "blobs", sha256(weights));

export async function assertRight(
  files: ReadonlyMap<string, string>,
): Promise<void> {
  assertEquals<readonly string[]>([...files.keys()], request.required);
  const read = (name: string) => Deno.readFile(files.get(name)!);
  assertEquals(await read("config.json"), config);
  assertEquals(sha256(await read("model.safetensors")), sha256(weights));
}

export async function assertRemedied(
  fetch: () => Promise<unknown>,
  ...messages: RegExp[]
): Promise<void> {
  const error = await assertRejects(fetch, RemediedError);
  for (const message of messages) assertMatch(error.message, message);
}
