import {
  diskFull,
  InstallError,
  type InstallErrorCode,
} from "./install_error.ts";

const OFFLINE =
  "Check the connection; behind a proxy, name it (HTTPS_PROXY or PIP_PROXY). Offline, put the wheel into a folder and name that: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER";

/** What pip writes when it fails, and what that means; the first that matches counts. */
const GLOSSARY: readonly {
  readonly pattern: RegExp;
  readonly code: InstallErrorCode;
  readonly problem: (wheel: string) => string;
  readonly remedy: string;
}[] = [
  {
    pattern: /DO NOT MATCH THE HASHES|HashMismatch/,
    code: "wrong-hash",
    problem: (wheel) =>
      `The download of ${wheel} is not the file that was published (its hash differs)`,
    remedy:
      "Try again; if it stays so, the mirror or proxy in between serves a changed file: name another with PIP_INDEX_URL",
  },
  {
    pattern: /CERTIFICATE_VERIFY_FAILED|SSLError/,
    code: "certificate",
    problem: (wheel) =>
      `pip does not trust the certificate of the server that offers ${wheel}`,
    remedy: "Behind a company proxy, name its certificate: PIP_CERT=FILE.pem",
  },
  {
    pattern:
      /ProxyError|Tunnel connection failed|NewConnectionError|NameResolutionError|name resolution|Connect(ion)?TimeoutError|ReadTimeout|ProtocolError|IncompleteRead|Connection (aborted|refused|reset|broken)|Network is unreachable/i,
    code: "network",
    problem: (wheel) =>
      `pip cannot download ${wheel}: the package index does not answer`,
    remedy: OFFLINE,
  },
  {
    pattern: /EOFError|40[137] .*(Error|Unauthorized|Forbidden)/,
    code: "credentials",
    problem: (wheel) => `The package index refuses to give ${wheel}`,
    remedy: "Check the index and its credentials: python3 -m pip config list",
  },
  {
    pattern: /No matching distribution found|Could not find a version/,
    code: "not-found",
    problem: (wheel) =>
      `The package index that pip is set to use does not have ${wheel}`,
    remedy:
      "Look at its settings (python3 -m pip config list), or name another index with PIP_INDEX_URL",
  },
];

/** Turns a failed run of pip into an error with advice. */
export function explainPipFailure(
  output: string,
  wheel: string,
  folder: string,
): InstallError {
  if (/\[Errno (28|122)\]/.test(output)) return diskFull(folder);
  const known = GLOSSARY.find(({ pattern }) => pattern.test(output));
  const cause = new Error(lastLines(output));
  if (known !== undefined) {
    return new InstallError(known.code, known.problem(wheel), known.remedy, {
      cause,
    });
  }
  return new InstallError(
    "pip",
    `pip could not download ${wheel}:\n${cause.message}`,
    "Try the same by hand to find out more: python3 -m pip download --no-deps " +
      wheel,
    { cause },
  );
}

function lastLines(output: string): string {
  return output.trimEnd().split("\n").slice(-8).join("\n");
}
