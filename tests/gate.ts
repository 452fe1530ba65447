/** `deno task ok`: the gate. Every step must pass. */
const STEPS = ["fmt --check", "lint", "task check", "task test"];

if (Deno.args.length > 0) {
  const help = ["--help", "-h"].includes(Deno.args[0]!);
  console.log(
    `Usage: deno task ok

Run the gate: ${STEPS.map((it) => `deno ${it}`).join(", ")}.
It takes some seven minutes on two processors. "deno task test --help" lists
the groups of tests, which run alone as well.`,
  );
  Deno.exit(help ? 0 : 2);
}
for (const step of STEPS) {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: step.split(" "),
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  if (code !== 0) Deno.exit(code);
}
