/**
 * Runs on a node of a cluster: selects an engine, and prints as JSON what the
 * selection has asked of the host, with the answers.
 */
import type { EngineName } from "./choice.ts";
import { selectEngine } from "./choose.ts";
import { instructionsOf, machineOf, thisHost } from "./host.ts";
import { recordingHost } from "./recorded_host.ts";

const { host, answers } = recordingHost(thisHost);
const choice = await selectEngine(Deno.args[0] as EngineName | "auto", host);
await instructionsOf(choice, host);
await machineOf(choice, host);
console.log(JSON.stringify(answers));
