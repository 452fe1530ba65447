/**
 * The packages that compute with libtensorflow: the backend of tfjs-node-gpu and
 * its kernels. Loading them takes most of the start of an engine's stage, and
 * needs no permission.
 */
import util from "node:util";
import "@tensorflow/tfjs-core";

// tfjs-node calls functions that newer releases of Node do not have.
const nodeUtil = util as unknown as Record<string, unknown>;
nodeUtil.isNullOrUndefined ??= (value: unknown) =>
  value === null || value === undefined;
nodeUtil.isArray ??= Array.isArray;

/** The part of the backend of tfjs-node-gpu that is used. */
interface Backend {
  readonly tensorMap: {
    get(dataId: object): { id: number; dtype: number; values: unknown };
  };
  write(values: ArrayLike<number>, shape: number[], dtype: string): object;
}

// Imported late, after the functions that they call.
const backend = await import(
  "@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js"
);
await import("@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js");

/** The backend of tfjs-node-gpu, which calls libtensorflow through a binding. */
export const NodeJSKernelBackend = backend
  .NodeJSKernelBackend as unknown as new (
    binding: object,
    packageName: string,
  ) => Backend;
