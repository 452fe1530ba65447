import { installLibrary } from "../../../lib/engine/install/install.ts";

/** Installs in a separate process: `install_process.ts BUILD CACHE PYTHON`. */
const [build, cache, pip] = Deno.args as [string, string, string];
const steps: string[] = [];
await installLibrary(JSON.parse(build), cache, {
  pip,
  onProgress: ({ step }) => steps.push(step),
});
console.log(JSON.stringify(steps));
