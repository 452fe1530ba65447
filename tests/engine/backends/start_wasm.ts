import { startWasm } from "../../../lib/engine/backends/wasm.ts";

await startWasm();
console.log("started");
