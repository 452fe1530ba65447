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
