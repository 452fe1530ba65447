import * as tf from "@tensorflow/tfjs-core";
import {
  narrowed,
  type Narrowing,
  type Pass,
  type Read,
  type SplitModule,
  WithHeads,
} from "./model.ts";
import { rangeOf } from "../ops/attention.ts";
import { evenSizes } from "../ops/blocks.ts";
import { mapInstances } from "../trace.ts";
import type { Activation } from "./pass_weights.ts";
import { byToken, TensorPass, type TensorPassOptions } from "./tensor_pass.ts";

/** An activation in chunks of tokens; in one, as a whole, where it is no more than a token of each sequence. */
class Chunks implements Narrowing<Chunks> {
  constructor(
    readonly parts: readonly Activation[],
    readonly read?: Read<Chunks> | undefined,
  ) {}
}

/**
 * A forward pass over chunks of each sequence's tokens, which threads compute
 * side by side where there are fewer sequences than threads. What looks at
 * several tokens, attention above all, is computed of the joined chunks.
 */
export class ChunkedPass extends WithHeads<Chunks> implements Pass<Chunks> {
  readonly tokens: number;
  readonly #sizes: readonly number[];
  readonly #parts: readonly TensorPass[];
  readonly #whole: TensorPass;

  /**
   * @param options Those of a pass over whole sequences
   * @param count Chunks of each sequence
   * @param keys Keys of the dropout masks, int32 `[count * places, 2]`; those of the first chunk serve what is joined as well
   */
  constructor(
    options: Omit<TensorPassOptions, "keys">,
    count: number,
    keys: tf.Tensor2D | undefined,
  ) {
    super();
    const { ids, positions, types, mask } = options.input;
    this.tokens = ids.shape[1];
    this.#sizes = evenSizes(this.tokens, count);
    const keysOf = (keys?.split(count) ?? []).map((it) =>
      it.unstack().values()
    );
    const whole = { ...options, keys: keysOf[0], pieces: count };
    this.#whole = new TensorPass(whole);
    let start = 0;
    this.#parts = count === 1 ? [this.#whole] : this.#sizes.map((size, i) => {
      const own = <T extends tf.Tensor2D | undefined>(x: T) =>
        x && rangeOf(x, 1, start, size) as T;
      const input = {
        ...{ ids: own(ids), positions: own(positions) },
        ...{ types: own(types), mask: own(mask) },
      };
      const part = { ...options, input, start, keys: keysOf[i] };
      start += size;
      return new TensorPass(part);
    });
  }

  readonly embed = this.#byChunk("embed");
  readonly linear = this.#byChunk("linear");
  readonly rotary = this.#byChunk("rotary");
  readonly norm = this.#byChunk("norm");
  readonly add = this.#byChunk("add");
  readonly activate = this.#byChunk("activate");
  readonly glu = this.#byChunk("glu");
  readonly dropout = this.#byChunk("dropout");
  readonly logits = this.#joined("logits");
  readonly vocabulary = this.#joined("vocabulary");
  readonly rows = this.#joined("rows");
  readonly positionBias = this.#joined("positionBias");
  readonly disentangle = this.#joined("disentangle");
  readonly last = this.#joined("last");
  readonly mean = this.#joined("mean");
  readonly #attention = this.#joined("attention");

  split(x: Chunks, modules: readonly SplitModule[]): Chunks[] {
    const found = x.parts.map((part, i) =>
      this.#passOf(x, i).split(part, modules)
    );
    return found[0]!.map((_, output) =>
      new Chunks(found.map((of) => of[output]!), x.read)
    );
  }

  attention(...args: Parameters<Pass<Chunks>["attention"]>): Chunks {
    const whole = this.#attention(...args);
    const [context] = whole.parts as [Activation];
    // The gradient of tf.split fails for a single part.
    if (args[0].parts.length === 1) return whole;
    const [all, axis] = byToken(context);
    const parts = all.split([...this.#sizes], axis).map((value, i) => ({
      ...context,
      value: value.reshape([-1, value.shape[2]!]),
      tokens: this.#sizes[i]!,
    }));
    return new Chunks(parts);
  }

  first({ parts }: Chunks): Chunks {
    return new Chunks([this.#whole.first(parts[0]!)]);
  }

  narrow({ parts }: Chunks, read: Read<Chunks>): Chunks {
    return new Chunks(parts, read);
  }

  #passOf({ parts }: Chunks, i: number): TensorPass {
    return parts.length === 1 ? this.#whole : this.#parts[i]!;
  }

  /** An operation on each chunk by itself. */
  #byChunk<Name extends OperationName>(name: Name): Pass<Chunks>[Name] {
    const each = (...args: unknown[]) => {
      const chunks = args.flat().filter((it) => it instanceof Chunks);
      const all = new Map(narrowed(chunks).map((x, i) => [chunks[i], x]));
      const [x] = all.values();
      const parts = (x?.parts ?? this.#parts).map((_, i) => {
        const pass = x === undefined ? this.#parts[i]! : this.#passOf(x, i);
        const own = mapInstances(args, Chunks, (x) => all.get(x)!.parts[i]!);
        return Reflect.apply(pass[name] as Operation, pass, own as unknown[]);
      });
      return new Chunks(parts, x?.read);
    };
    return each as Pass<Chunks>[Name];
  }

  /** An operation on whole sequences. */
  #joined<Name extends OperationName>(name: Name): Pass<Chunks>[Name] {
    const whole = (...args: unknown[]) => {
      const all = mapInstances(args, Chunks, joined) as unknown[];
      const { [name]: operation } = this.#whole;
      return new Chunks([
        Reflect.apply(operation as Operation, this.#whole, all),
      ]);
    };
    return whole as Pass<Chunks>[Name];
  }
}

type OperationName = keyof Pass<Chunks> & keyof TensorPass;

type Operation = () => Activation;

/** An activation as a whole. */
function joined({ parts }: Chunks): Activation {
  const [first] = parts as [Activation];
  if (parts.length === 1) return first;
  const axis = byToken(first)[1];
  const all = tf.concat(parts.map((part) => byToken(part)[0]), axis);
  return {
    value: all.rank === 4 ? all : all.reshape([-1, all.shape[2]!]),
    sequences: first.sequences,
    tokens: parts.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}
