import {
  HUB_ENV,
  hubCache,
  hubSettings,
  NETWORK_ENV,
} from "../hub/settings.ts";
import type { Permissions, Stage } from "../pipeline/task.ts";

/** Permissions of tasks that fetch from the hub. */
export const HUB_PERMISSIONS = {
  net: true,
  env: [...HUB_ENV, ...NETWORK_ENV],
  write: () => [hubCache()],
} satisfies Permissions;

/** The settings of the hub, and the progress of a stage's downloads. */
export function hubOptions({ log, progress, signal }: Stage<unknown>) {
  return {
    settings: hubSettings(),
    log,
    onProgress(bytes: number, total: number) {
      const [size, unit] = total < 1e7 ? [1e3, "kB"] : [1e6, "MB"];
      progress(Math.round(bytes / size), Math.round(total / size), unit);
    },
    signal,
  } as const;
}
