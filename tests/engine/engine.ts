import { useTensorflow } from "../../lib/engine/backend.ts";
import { startTensorflow } from "../../lib/engine/tensorflow/start.ts";

/** The engine, started once for all tests of a process. */
export const tensorflow = await startTensorflow("/tmp/tflib/tensorflow", {
  intraOpThreads: 2,
  interOpThreads: 1,
});
useTensorflow(tensorflow);
