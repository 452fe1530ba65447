import { join } from "node:path";

/** Where the hub is and how to use it, as Hugging Face's own tools understand it. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Folder of the cache that all tools share. */
  readonly cache: string;
  readonly token?: string;
  /** True if the network must not be used. */
  readonly offline: boolean;
}

/** The environment variables that {@linkcode hubSettings} reads. */
export const HUB_ENV = [
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
 * Reads the settings from the environment variables that Hugging Face's tools
 * share.
 *
 * @see https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
 * @throws {TypeError} Naming the variable that is wrong.
 */
export function hubSettings(
  env: (name: typeof HUB_ENV[number]) => string | undefined = Deno.env.get,
): HubSettings {
  const endpoint = env("HF_ENDPOINT") || "https://huggingface.co";
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) {
    throw new TypeError(
      `HF_ENDPOINT is "${endpoint}", which is not a web address such as "https://huggingface.co"`,
    );
  }
  const token = env("HF_TOKEN");
  if (token && !token.startsWith("hf_")) {
    throw new TypeError(
      'HF_TOKEN does not begin with "hf_", as every access token of the hub does; correct it or unset it',
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
 * The folder of the cache that all of Hugging Face's tools share.
 *
 * @throws {TypeError} If no variable tells where it is.
 */
export function hubCache(
  env: (name: typeof HUB_ENV[number]) => string | undefined = Deno.env.get,
): string {
  const cache = env("HF_HUB_CACHE") || env("HUGGINGFACE_HUB_CACHE");
  if (cache) return cache;
  if (env("HF_HOME")) return join(env("HF_HOME")!, "hub");
  const home = env("HOME") || env("USERPROFILE");
  const caches = env("XDG_CACHE_HOME") || (home && join(home, ".cache"));
  if (!caches) {
    throw new TypeError("No folder for the hub's cache is known: set HF_HOME");
  }
  return join(caches, "huggingface", "hub");
}

/** Environment variables by which users set up proxies and certificates, for us and for pip. */
export const NETWORK_ENV = [
  "ALL_PROXY",
  "HTTPS_PROXY",
  "HTTP_PROXY",
  "NO_PROXY",
  "all_proxy",
  "https_proxy",
  "http_proxy",
  "no_proxy",
  "DENO_CERT",
  "DENO_TLS_CA_STORE",
  "NODE_EXTRA_CA_CERTS",
  "REQUESTS_CA_BUNDLE",
  "SSL_CERT_DIR",
  "SSL_CERT_FILE",
] as const;

/** Environment variables by which users set up pip. */
export const PIP_ENV = [
  "PIP_CERT",
  "PIP_CLIENT_CERT",
  "PIP_CONFIG_FILE",
  "PIP_DEFAULT_TIMEOUT",
  "PIP_EXTRA_INDEX_URL",
  "PIP_FIND_LINKS",
  "PIP_INDEX_URL",
  "PIP_NO_INDEX",
  "PIP_PROXY",
  "PIP_RETRIES",
  "PIP_TRUSTED_HOST",
  "PYENV_VERSION",
  "VIRTUAL_ENV",
  "XDG_CONFIG_HOME",
] as const;
