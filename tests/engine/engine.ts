import { useTensorflow } from "../../lib/engine/backend.ts";
import { selectEngine } from "../../lib/engine/library/select.ts";
import { startTensorflow } from "../../lib/engine/tensorflow/start.ts";

const choice = await selectEngine("tensorflow");
await choice.prepare();

/** The engine, started once for all tests of a process. */
export const tensorflow = await startTensorflow(choice.library!, {
  intraOpThreads: 2,
  interOpThreads: 1,
});
useTensorflow(tensorflow);
