import type { Activation } from "../../../lib/engine/models/pass_weights.ts";
import {
  TensorPass,
  type TensorPassOptions,
} from "../../../lib/engine/models/tensor_pass.ts";

/** A pass that computes all hidden states, also where the head reads a part of the last: each, `[sequences * tokens, hidden]`, is given to a function. */
export class ObservedPass extends TensorPass {
  constructor(
    options: TensorPassOptions,
    private readonly onHidden: (hidden: Activation["value"]) => void,
  ) {
    super(options);
  }

  override narrow(x: Activation): Activation {
    return super.narrow(x, (x) => super.narrow(x, undefined));
  }

  observe({ value }: Activation): void {
    this.onHidden(value);
  }
}
