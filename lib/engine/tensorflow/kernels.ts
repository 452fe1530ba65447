/**
 * The packages that compute with libtensorflow: the backend of tfjs-node-gpu and
 * its kernels. Loading them takes most of the start of an engine's stage, and
 * needs no permission.
 */
import { createRequire } from "node:module";
import util from "node:util";
import "@tensorflow/tfjs-core";

// tfjs-node calls functions that newer releases of Node do not have.
const nodeUtil = util as unknown as Record<string, unknown>;
nodeUtil.isNullOrUndefined ??= (value: unknown) =>
  value === null || value === undefined;
nodeUtil.isArray ??= Array.isArray;

// Resolves packages from the project's folder, the only one in which a stage's process may look for them.
const require = createRequire(new URL("../../../", import.meta.url));

/** The backend of tfjs-node-gpu, which calls libtensorflow through a binding. */
export const { NodeJSKernelBackend } = require(
  "@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js",
);
require("@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js");
