import { join, resolve } from "node:path";
import { PROJECT_ENV, projectFolder } from "../pypi/project.ts";

/** Access to the hub, as configured for Hugging Face's tools. */
export interface HubSettings {
  /** URL without a trailing slash. */
  readonly endpoint: string;
  /** Folder of the cache that all of Hugging Face's tools share. */
  readonly cache: string;
  readonly token?: string;
  /** Whether the network must not be used. */
  readonly offline: boolean;
}

/** Environment variables that {@linkcode hubSettings} reads. */
export const HUB_ENV = [
  PROJECT_ENV,
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_HUB_CACHE",
  "HF_HUB_OFFLINE",
  "HF_TOKEN",
  "HOME",
  "HUGGINGFACE_HUB_CACHE",
  "USERPROFILE",
  "XDG_CACHE_HOME",
] as const;

/**
 * Reads the settings from the environment variables of Hugging Face's tools.
 *
 * @see
 * https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 * @throws {RangeError} If a variable is invalid.
 */
export function hubSettings(
  env: (name: typeof HUB_ENV[number]) => string | undefined = Deno.env.get,
): HubSettings {
  const endpoint = env("HF_ENDPOINT") || "https://huggingface.co";
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) {
    throw new RangeError(
      `HF_ENDPOINT is "${endpoint}"; expected a URL such as "https://huggingface.co"`,
    );
  }
  const token = env("HF_TOKEN");
  if (token && !token.startsWith("hf_")) {
    throw new RangeError(
      'HF_TOKEN does not start with "hf_" as access tokens do; correct it or unset it',
    );
  }
  return {
    endpoint: endpoint.replace(/\/+$/, ""),
    cache: hubCache(env),
    offline: /^(1|on|yes|true)$/i.test(env("HF_HUB_OFFLINE") ?? ""),
    ...(token && { token }),
  };
}

/**
 * Absolute path of the cache that all of Hugging Face's tools share. `~` stands
 * for the home folder, also in a variable that no shell has expanded.
 *
 * @throws {RangeError} If no variable determines it.
 */
export function hubCache(
  env: (name: typeof HUB_ENV[number]) => string | undefined = Deno.env.get,
): string {
  const home = env("HOME") || env("USERPROFILE");
  const caches = env("XDG_CACHE_HOME") || (home && join(home, ".cache"));
  const all = env("HF_HOME") || (caches && join(caches, "huggingface"));
  const cache = env("HF_HUB_CACHE") || env("HUGGINGFACE_HUB_CACHE") ||
    (all && join(all, "hub"));
  if (!cache) {
    throw new RangeError(
      "Cannot determine the folder of the hub's cache; set HF_HOME",
    );
  }
  return resolve(
    projectFolder(),
    cache.replace(/^~(?=[/\\]|$)/, () => home ?? "~"),
  );
}

/**
 * Environment variables that configure proxies and certificates, also for pip.
 */
export const NETWORK_ENV: readonly string[] = [
  ..."ALL_PROXY HTTPS_PROXY HTTP_PROXY NO_PROXY all_proxy https_proxy http_proxy"
    .split(" "),
  ..."no_proxy DENO_CERT DENO_TLS_CA_STORE NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE SSL_CERT_DIR SSL_CERT_FILE"
    .split(" "),
];

/** Environment variables that configure pip. */
export const PIP_ENV: readonly string[] = [
  ..."PIP_CERT PIP_CLIENT_CERT PIP_CONFIG_FILE PIP_DEFAULT_TIMEOUT PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_INDEX_URL"
    .split(" "),
  ..."PIP_NO_INDEX PIP_PROXY PIP_RETRIES PIP_TRUSTED_HOST PYENV_VERSION VIRTUAL_ENV XDG_CONFIG_HOME"
    .split(" "),
];
