import { listDevices, openContext } from "../tensorflow/context.ts";
import { openLibtensorflow } from "../tensorflow/open.ts";
import { Status } from "../tensorflow/status.ts";

/** What a library says of itself and of the machine. */
export interface Inspection {
  /** `2.21.0` */
  readonly version: string;
  /** Kinds of devices that it computes on: `["CPU", "GPU"]`. */
  readonly devices: readonly string[];
}

function inspect(folder: string): Inspection {
  const library = openLibtensorflow(folder);
  const status = new Status(library);
  const context = openContext(library, status, {
    intraOpThreads: 1,
    interOpThreads: 1,
  });
  return {
    version: Deno.UnsafePointerView.getCString(library.TF_Version()!),
    devices: listDevices(library, status, context).map(({ type }) => type),
  };
}

// Run in a process of its own, which a library that does not fit may take down.
if (import.meta.main) console.log(JSON.stringify(inspect(Deno.args[0]!)));
