import assert from "node:assert/strict";
import { explainLoadFailure } from "../../../lib/engine/install/check.ts";

function problem(output: string, signal: Deno.Signal | null = null): string {
  const error = explainLoadFailure(output, signal, "/cache/tensorflow");
  assert.equal(error.code, "not-loadable");
  assert.notEqual(error.remedy, "");
  return error.problem;
}

Deno.test("explainLoadFailure() turns what loaders write into words", () => {
  assert.match(
    problem(
      "Cannot load: /lib64/libm.so.6: version `GLIBC_2.27' not found (required by /c/libtensorflow_cc.so.2)",
    ),
    /too old for libtensorflow: it lacks GLIBC_2.27/,
  );
  assert.match(
    problem(
      "libstdc++.so.6: cannot open shared object file: No such file or directory",
    ),
    /needs "libstdc\+\+.so.6", which is not installed/,
  );
  assert.match(
    problem(
      "Error loading shared library ld-linux-x86-64.so.2: No such file or directory",
    ),
    /needs glibc/,
  );
  assert.match(
    problem(
      "/c/libtensorflow_cc.so.2: cannot open shared object file: No such file or directory",
    ),
    /damaged, incomplete/,
  );
  assert.match(
    problem("/c/x: failed to map segment from shared object"),
    /noexec/,
  );
  assert.match(problem("", "SIGILL"), /AVX/);
});

Deno.test("explainLoadFailure() passes on what it does not know", () => {
  assert.equal(
    problem(
      "I0000 a log line\nerror: Uncaught Error: Something new\n    at x (file:///y)",
    ),
    'libtensorflow in "/cache/tensorflow" cannot be loaded: Uncaught Error: Something new',
  );
  assert.match(
    problem("", "SIGSEGV"),
    /the process that loads it was ended by SIGSEGV$/,
  );
});
