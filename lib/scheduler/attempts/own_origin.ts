import { homedir } from "node:os";
import { join } from "node:path";
import { digest } from "../../store/digest.ts";
import { removeFolder } from "./visible.ts";

/** An origin of its own for a stage's process; what the process stored there is removed when disposed of. */
export interface OwnOrigin extends Disposable {
  readonly flags: readonly string[];
}

/**
 * Keeps a stage's process from finding what another stored: web storage and
 * caches need no permission, and without an origin all processes of a project
 * would share them. The stage itself is left without them by `child.ts`, but
 * the workers that it starts are not.
 */
export function ownOrigin(): OwnOrigin {
  const origin = `http://${crypto.randomUUID()}.invalid`;
  return {
    flags: ["--location", `${origin}/`],
    [Symbol.dispose]: () => {
      const stored = join(denoFolder(), "location_data");
      removeFolder(join(stored, digest(origin)));
      removeFolder(join(stored, "web_cache", digest(origin)));
    },
  };
}

/** Deno's own folder, as it finds it. */
function denoFolder(): string {
  const cache = Deno.build.os === "darwin"
    ? join(homedir(), "Library", "Caches")
    : Deno.env.get("XDG_CACHE_HOME") || join(homedir(), ".cache");
  return Deno.env.get("DENO_DIR") || join(cache, "deno");
}
