import type { Model } from "../engine/models/model.ts";
import { ShapePass } from "../engine/models/shape_pass.ts";

/** Share of the points that the fit leaves out, those with the largest ratios. */
const DISCARDED = 0.1;

/**
 * Intrinsic dimension of points by TwoNN (Facco et al. 2017,
 * doi:10.1038/s41598-017-11873-y). The ratio mu of the distances to a point's
 * second and first neighbour has the distribution F(mu) = 1 - mu^-d, whatever
 * the density, so d is the slope of -log(1 - F(mu)) against log(mu) through the
 * origin. Points at the place of another one have no ratio and do not count.
 *
 * @param points `[count, width]`, flat
 * @throws {RangeError} If fewer than three points have a ratio.
 */
export function intrinsicDimension(
  points: Float32Array,
  width: number,
): number {
  const count = points.length / width;
  // Squares of the distances to the first and the second neighbour.
  const first = new Float64Array(count).fill(Infinity);
  const second = new Float64Array(count).fill(Infinity);
  const meet = (point: number, square: number) => {
    if (square >= second[point]!) return;
    second[point] = Math.max(first[point]!, square);
    first[point] = Math.min(first[point]!, square);
  };
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < i; j++) {
      let square = 0;
      for (let k = 0; k < width; k++) {
        square += (points[i * width + k]! - points[j * width + k]!) ** 2;
      }
      meet(i, square);
      meet(j, square);
    }
  }
  const logs = [...first.keys()].filter((i) => first[i]! > 0)
    .map((i) => Math.log(second[i]! / first[i]!) / 2).sort((a, b) => a - b);
  const kept = logs.slice(0, Math.floor(logs.length * (1 - DISCARDED)));
  if (kept.length < 2) {
    throw new RangeError(
      `Of ${count} points, ${logs.length} are at a place of their own, too few to estimate a dimension: use more examples`,
    );
  }
  const heights = kept.map((_, i) => -Math.log1p(-(i + 1) / logs.length));
  const product = (other: readonly number[]) =>
    kept.reduce((sum, log, i) => sum + log * other[i]!, 0);
  return product(heights) / product(kept);
}

/** Notes the linear modules of the embeddings and of each layer. */
class LayerPass extends ShapePass {
  readonly layers: (readonly string[])[] = [];

  override observe(): void {
    this.layers.push(this.products.splice(0).flat());
  }
}

/**
 * Ranks of modules by GeLoRA (arXiv 2412.09250): a layer that raises the
 * intrinsic dimension of the hidden states by n needs at least the rank n; its
 * modules get the rank n + 1, rounded up. A module that several layers share has
 * the largest of their ranks, one outside the layers rank 1.
 *
 * @param modules Names of linear modules of the model
 * @param dimensions Of the embeddings' hidden states, and of each layer's
 */
export function geloraRanks(
  model: Model,
  modules: readonly string[],
  dimensions: readonly number[],
): number[] {
  const pass = new LayerPass();
  model.encoder(pass);
  const ranks = new Map<string, number>();
  for (const [layer, names] of pass.layers.entries()) {
    const raised = dimensions[layer]! - (dimensions[layer - 1] ?? Infinity);
    const rank = Math.max(0, Math.ceil(raised)) + 1;
    for (const name of names) {
      ranks.set(name, Math.max(ranks.get(name) ?? 1, rank));
    }
  }
  return modules.map((name) => ranks.get(name) ?? 1);
}
