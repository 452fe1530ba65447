import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { explainLoadFailure } from "../../../lib/engine/library/load_failure.ts";

function problem(output: string, signal: Deno.Signal | null = null): string {
  const error = explainLoadFailure(output, signal, "/cache/tensorflow");
  assertEquals(error.code, "not-loadable");
  assertNotEquals(error.remedy, "");
  return error.problem;
}

Deno.test("explainLoadFailure() turns what loaders write into words", () => {
  assertMatch(
    problem(
      "Cannot load: /lib64/libm.so.6: version `GLIBC_2.27' not found (required by /c/libtensorflow_cc.so.2)",
    ),
    /too old for libtensorflow: it lacks GLIBC_2.27/,
  );
  assertMatch(
    problem(
      "libstdc++.so.6: cannot open shared object file: No such file or directory",
    ),
    /needs "libstdc\+\+.so.6", which is not installed/,
  );
  assertMatch(
    problem(
      "Error loading shared library ld-linux-x86-64.so.2: No such file or directory",
    ),
    /needs glibc/,
  );
  assertMatch(
    problem(
      "/c/libtensorflow_cc.so.2: cannot open shared object file: No such file or directory",
    ),
    /damaged, incomplete/,
  );
  assertMatch(
    problem("/c/x: failed to map segment from shared object"),
    /noexec/,
  );
  assertMatch(problem("", "SIGILL"), /AVX/);
});

Deno.test("explainLoadFailure() passes on what it does not know", () => {
  assertEquals(
    problem(
      "I0000 a log line\nerror: Uncaught Error: Something new\n    at x (file:///y)",
    ),
    'libtensorflow in "/cache/tensorflow" cannot be loaded: Uncaught Error: Something new',
  );
  assertMatch(
    problem("", "SIGSEGV"),
    /the process that loads it was ended by SIGSEGV$/,
  );
});
