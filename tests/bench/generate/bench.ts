/**
 * Times what this engine and transformers with PEFT write, in turn.
 *
 *     eval "$(sh tests/bench/peer/setup.sh)"
 *     deno task bench generate --json
 */
import { join } from "node:path";
import { type Arguments, EXIT } from "../../../lib/cli/arguments/arguments.ts";
import { JSON_LINES } from "../../../lib/cli/arguments/options.ts";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { median } from "../../../lib/engine/training/progress.ts";
import { benchmark, peerPython, PRECISION, precisionsOf } from "../options.ts";
import { Peer } from "../peer/peer.ts";
import { writeRandomModel } from "../step/random_model.ts";
import { shapes } from "../step/work.ts";

/** What is written: prompts of so many tokens. */
const PROMPTS = { prompts: 8, length: 32 };

/** `deno task bench generate`. */
export const command = benchmark`
  generate

  Time texts after 8 prompts of 32 tokens against transformers with PEFT, in turn: SmolLM2-135M with random weights and LoRA of rank 8, greedy and with four beams. Prints tokens a second (or bytes of peak memory) of this engine and of the peer, medians, and their ratio. PEFT_PYTHON names the peer's Python. Run it on an idle machine.

  Options:
  ${PRECISION}
  --tokens N  Tokens that are written after each prompt (default 32)
  --rounds N  Turns that each side takes, after one that does not count (default 5)
  --threads N  Threads of each side (default 2)
  ${JSON_LINES}

  Examples:
  --precision bf16 --json  Time bfloat16 alone
`(bench);

async function bench(args: Arguments): Promise<number> {
  const python = peerPython();
  const tokens = args.integer("tokens", 1) ?? 32;
  const rounds = args.integer("rounds", 1) ?? 5;
  const choice = await selectEngine("tensorflow");
  await choice.prepare();
  const { model } = shapes.find(({ head }) => head === "language")!;
  const { architecture } = parseModel(JSON.stringify(model.config));
  const folder = Deno.makeTempDirSync({ prefix: "bench-" });
  try {
    writeRandomModel(folder, model);
    for (const precision of precisionsOf(args)) {
      const script = join(import.meta.dirname!, "../peer/generate.py");
      await using peer = Peer.run(python, ["-W", "ignore", script]);
      await using ours = Peer.run(Deno.execPath(), [
        ...["run", "-A", "--quiet", join(import.meta.dirname!, "ours.ts")],
        ...[folder, choice.library!],
      ]);
      for (const side of [ours, peer]) {
        await side.prepare({
          config: model.config,
          target_modules: architecture.targetModules,
          ...{ modules_to_save: [], precision, batch: 8, length: 32 },
          ...{ rank: 8, alpha: 16, labels: 1, head: "language" },
          threads: args.integer("threads", 1) ?? 2,
        });
      }
      for (const beams of [1, 4]) {
        const speeds = { ours: [] as number[], peer: [] as number[] };
        const peak = { ours: 0, peer: 0 };
        for (let round = 0; round <= rounds; round++) {
          for (const [name, side] of Object.entries({ ours, peer })) {
            const key = name as keyof typeof peak;
            const work = { ...PROMPTS, tokens, beams };
            const { seconds, peak_bytes } = await side.generate(work);
            peak[key] = peak_bytes;
            if (round === 0) continue;
            speeds[key].push(PROMPTS.prompts * tokens / seconds[0]!);
          }
        }
        const work = beams === 1 ? "greedy" : `${beams} beams`;
        const row = (what: string, ours: number, peer: number) => {
          const ratio = ours / peer;
          const row = { work: what, precision, ours, peer, ratio };
          const figures = [ours, peer, ratio].map((it) => it.toPrecision(4));
          const text = `${what.padEnd(30)} ${precision}  ${figures.join("  ")}`;
          console.log(args.has("json") ? JSON.stringify(row) : text);
        };
        const speed = [median(speeds.ours), median(speeds.peer)] as const;
        row(`${work}, tokens a second`, ...speed);
        row(`${work}, peak memory`, peak.ours, peak.peer);
      }
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  return EXIT.success;
}
