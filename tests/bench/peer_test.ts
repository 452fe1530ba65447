import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { timePeerEpoch } from "./peer/epoch.ts";
import { Peer, type PeerWork } from "./peer/peer.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");

const WORK: PeerWork = {
  head: "sequence",
  config: {
    model_type: "roberta",
    vocab_size: 500,
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 64,
    max_position_embeddings: 66,
  },
  target_modules: ["query", "value"],
  modules_to_save: ["classifier"],
  precision: "f32",
  batch: 4,
  length: 16,
  rank: 8,
  alpha: 16,
  labels: 2,
  threads: 1,
};

Deno.test({
  name: "Peer times the steps and evaluations of PEFT in turn",
  ignore: PYTHON === undefined,
  async fn() {
    await using peer = Peer.start(PYTHON!);
    for (
      const [model_type, modules_to_save] of [
        ["roberta", ["classifier"]],
        ["bert", ["classifier", "pooler"]],
      ] as const
    ) {
      const config = { ...WORK.config, model_type };
      const { trained } = await peer.prepare({
        ...WORK,
        config,
        modules_to_save,
      });
      // A and B of two projections in two layers; dense and its bias, and the
      // last layer of the head.
      assertEquals(trained, 2 * 2 * 2 * 8 * 32 + 32 * 32 + 32 + 2 * 32 + 2);
      const first = await peer.step(2);
      assertEquals(first.seconds.length, 2);
      assertAlmostEquals(first.loss!, Math.LN2, 0.2, `${first.loss}`);
      const { seconds } = await peer.evaluate([1, 2, 8], 3);
      assertEquals(seconds.length, 3);
      const last = await peer.step(40);
      assert(last.loss! < first.loss!, "training goes on after an evaluation");
    }
  },
});

Deno.test({
  name: "Peer times the steps of sentence-transformers with PEFT on pairs",
  ignore: PYTHON === undefined,
  async fn() {
    await using peer = Peer.start(PYTHON!);
    const { trained } = await peer.prepare({
      ...WORK,
      head: "embedding",
      config: { ...WORK.config, model_type: "bert" },
      modules_to_save: [],
    });
    assertEquals(trained, 2 * 2 * 2 * 8 * 32);
    const first = await peer.step(1);
    // Of 4 positives that nothing tells apart.
    assertAlmostEquals(first.loss!, Math.log(4), 1, `${first.loss}`);
    const last = await peer.step(40);
    assert(last.loss! < first.loss!, `${first.loss} and ${last.loss}`);
  },
});

Deno.test({
  name: "timePeerEpoch() trains PEFT on each example of MRPC once",
  ignore: PYTHON === undefined,
  async fn() {
    const fixtures = join(import.meta.dirname!, "../../fixtures");
    const epoch = (padding: "longest" | "max_length") =>
      timePeerEpoch(PYTHON!, {
        model: join(fixtures, "tiny-bert"),
        data: join(fixtures, "tiny-glue/MRPC/train.tsv"),
        padding,
        maxLength: 40,
        precision: "f32",
        batch: 32,
        learningRate: 5e-3,
        rank: 8,
        alpha: 16,
        threads: 1,
      });
    const [longest, whole] = [
      await epoch("longest"),
      await epoch("max_length"),
    ];
    // 400 examples.
    assertEquals(longest.steps, 13);
    assertEquals(whole.tokens, 400 * 40);
    assert(longest.tokens < whole.tokens);
    assert(longest.loss < Math.LN2, `${longest.loss}`);
  },
});

Deno.test({
  name: "Peer reports that its Python ended",
  ignore: PYTHON === undefined,
  async fn() {
    await using peer = Peer.start(PYTHON!);
    assertIsError(
      await assertRejects(() => peer.step(1)),
      Error,
      /The peer ".*" ended at "step": exit code 1/,
    );
  },
});

Deno.test("Peer reports that a Python cannot be started", async () => {
  await using peer = Peer.start("no-such-python");
  assertIsError(
    await assertRejects(() => peer.step(1)),
    Error,
    /"no-such-python" ended at "step": .*ENOENT/,
  );
});
