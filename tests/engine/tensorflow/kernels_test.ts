/**
 * Every kernel of tfjs-node-gpu on libtensorflow, against tfjs's own CPU backend
 * on the same small inputs: so tfjs is whole for tasks of users.
 */
import { assertEquals, assertThrows } from "@std/assert";
// The gradients of operations, their methods, and the backend "cpu".
import "@tensorflow/tfjs";
import * as tf from "@tensorflow/tfjs-core";
import {
  AttributeType,
  DataType,
} from "../../../lib/engine/tensorflow/tensors.ts";
import {
  BACKEND,
  tensorIds,
} from "../../../lib/engine/tensorflow/tfjs_node_gpu.ts";
import { trace } from "../../../lib/engine/trace.ts";
import { tensorflow } from "../engine.ts";

/** Whether libtensorflow is the engine under test. */
const ofLibrary = { ignore: tensorflow === undefined };

/** An operation that runs a kernel, by public functions of tfjs. */
interface Case {
  readonly kernel: string;
  readonly run: () => tf.Tensor | readonly tf.Tensor[];
  /** Maximum difference, relative to the larger of 1 and the expected value. */
  readonly tolerance: number;
}

/** Kernels that cannot be compared, with the reason. */
const NOT_COMPARED: Readonly<Record<string, string>> = {
  Multinomial: "draws at random, by a generator of each backend's own",
};

/** Values in a range, the same in each call. */
function values(count: number, low: number, high: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const hash = Math.sin(i * 12.9898 + 1) * 43758.5453;
    return low + (high - low) * (hash - Math.floor(hash));
  });
}

function floats<R extends tf.Rank>(
  shape: tf.ShapeMap[R],
  low = -1,
  high = 1,
): tf.Tensor<R> {
  const count = tf.util.sizeFromShape(shape);
  return tf.tensor(values(count, low, high), shape, "float32");
}

function integers<R extends tf.Rank>(
  shape: tf.ShapeMap[R],
  low: number,
  high: number,
): tf.Tensor<R> {
  const count = tf.util.sizeFromShape(shape);
  const all = values(count, low, high).map(Math.floor);
  return tf.tensor(all, shape, "int32");
}

function booleans(count: number): tf.Tensor1D {
  return tf.tensor1d(values(count, 0, 1).map((it) => it > 0.5), "bool");
}

const vector = (low?: number, high?: number) =>
  floats<tf.Rank.R1>([12], low, high);
const matrix = () => floats<tf.Rank.R2>([3, 4]);
const image = () => floats<tf.Rank.R4>([2, 6, 6, 3]);
const volume = () => floats<tf.Rank.R5>([1, 5, 5, 5, 2]);
const filter = () => floats<tf.Rank.R4>([3, 3, 3, 4]);
const depthwise = () => floats<tf.Rank.R4>([3, 3, 3, 2]);
const structuring = () => floats<tf.Rank.R3>([2, 2, 3]);
const cube = () => floats<tf.Rank.R5>([2, 2, 2, 2, 3]);

/** Gradient of the sum of what a function gives, weighted so that its values differ. */
function gradient<T extends tf.Tensor>(
  f: (x: T) => tf.Tensor,
  x: T,
): tf.Tensor {
  return tf.grad((x) => {
    const y = f(x as T);
    return y.mul(tf.range(1, y.size + 1).div(y.size).reshape(y.shape)).sum();
  })(x);
}

const strings = () =>
  tf.tensor1d([
    "a cat",
    "",
    "é",
    "a string of more than 22 bytes, in the heap",
  ]);
const boxes = () =>
  tf.tensor2d([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3], [0, 2.1, 1, 3.2]]);
const scores = () => tf.tensor1d([0.9, 0.75, 0.6, 0.95]);
const complex = () => tf.complex(matrix(), matrix().mul(2).reverse(1));
const parts = (x: tf.Tensor) => [tf.real(x), tf.imag(x)];

const EXACT = 0;
const CLOSE = 1e-5;

function cases(
  tolerance: number,
  runs: Readonly<Record<string, Case["run"]>>,
): Case[] {
  return Object.entries(runs)
    .map(([kernel, run]) => ({ kernel, run, tolerance }));
}

const UNARY = cases(CLOSE, {
  Abs: () => tf.abs(vector()),
  Acos: () => tf.acos(vector()),
  Acosh: () => tf.acosh(vector(1, 4)),
  Asin: () => tf.asin(vector()),
  Asinh: () => tf.asinh(vector(-4, 4)),
  Atan: () => tf.atan(vector(-4, 4)),
  Atanh: () => tf.atanh(vector(-0.9, 0.9)),
  Ceil: () => tf.ceil(vector(-4, 4)),
  Cos: () => tf.cos(vector(-4, 4)),
  Cosh: () => tf.cosh(vector()),
  Elu: () => tf.elu(vector()),
  EluGrad: () => gradient(tf.elu, vector()),
  Erf: () => tf.erf(vector(-3, 3)),
  Exp: () => tf.exp(vector()),
  Expm1: () => tf.expm1(vector()),
  Floor: () => tf.floor(vector(-4, 4)),
  LeakyRelu: () => tf.leakyRelu(vector(), 0.3),
  Log: () => tf.log(vector(0.1, 4)),
  Log1p: () => tf.log1p(vector(-0.5, 4)),
  Neg: () => tf.neg(vector()),
  Reciprocal: () => tf.reciprocal(vector(0.5, 4)),
  Relu: () => tf.relu(vector()),
  Relu6: () => tf.relu6(vector(-2, 9)),
  Round: () => tf.round(tf.tensor1d([-1.5, -0.5, 0.4, 0.5, 1.5, 2.6])),
  Rsqrt: () => tf.rsqrt(vector(0.1, 4)),
  Selu: () => tf.selu(vector()),
  Sigmoid: () => tf.sigmoid(vector(-4, 4)),
  Sign: () => tf.sign(tf.tensor1d([-2, 0, 3])),
  Sin: () => tf.sin(vector(-4, 4)),
  Sinh: () => tf.sinh(vector()),
  Softplus: () => tf.softplus(vector(-4, 4)),
  Sqrt: () => tf.sqrt(vector(0, 4)),
  Square: () => tf.square(vector()),
  Step: () => tf.step(tf.tensor1d([-2, 0, 3]), 0.2),
  Tan: () => tf.tan(vector()),
  Tanh: () => tf.tanh(vector(-4, 4)),
});

const BINARY = cases(CLOSE, {
  Add: () => tf.add(matrix(), floats([4])),
  AddN: () => tf.addN([matrix(), matrix(), matrix()]),
  Atan2: () => tf.atan2(vector(), vector(0.5, 2)),
  Complex: () => parts(tf.complex(vector(), vector(0, 2))),
  FloorDiv: () => tf.floorDiv(integers([12], -9, 9), tf.scalar(4, "int32")),
  Maximum: () => tf.maximum(vector(), 0.1),
  Minimum: () => tf.minimum(vector(), 0.1),
  Mod: () => tf.mod(vector(-4, 4), 1.5),
  Multiply: () => tf.mul(matrix(), floats([3, 1])),
  Pow: () => tf.pow(vector(0.1, 3), vector()),
  Prelu: () => tf.prelu(matrix(), floats<tf.Rank.R2>([1, 4])),
  RealDiv: () => tf.div(vector(), vector(0.5, 2)),
  SquaredDifference: () => tf.squaredDifference(matrix(), floats([4])),
  Sub: () => tf.sub(matrix(), floats([4])),
});

const LOGICAL = cases(EXACT, {
  Equal: () => tf.equal(integers([12], 0, 3), 1),
  Greater: () => tf.greater(vector(), 0),
  GreaterEqual: () => tf.greaterEqual(integers([12], 0, 3), 1),
  IsFinite: () => tf.isFinite(tf.tensor1d([1, NaN, Infinity])),
  IsInf: () => tf.isInf(tf.tensor1d([1, NaN, -Infinity])),
  IsNan: () => tf.isNaN(tf.tensor1d([1, NaN, Infinity])),
  Less: () => tf.less(vector(), 0),
  LessEqual: () => tf.lessEqual(integers([12], 0, 3), 1),
  LogicalAnd: () =>
    tf.logicalAnd(booleans(6), tf.tensor1d([1, 0, 1, 0, 1, 0], "bool")),
  LogicalNot: () => tf.logicalNot(booleans(6)),
  LogicalOr: () =>
    tf.logicalOr(booleans(6), tf.tensor1d([1, 0, 1, 0, 1, 0], "bool")),
  NotEqual: () => tf.notEqual(integers([12], 0, 3), 1),
  Select: () => tf.where(booleans(12), vector(), tf.zeros([12])),
});

const REDUCTIONS = cases(CLOSE, {
  All: () => tf.all(booleans(6).reshape([2, 3]), 1),
  Any: () => tf.any(booleans(6).reshape([2, 3]), 1),
  ArgMax: () => tf.argMax(matrix(), 1),
  ArgMin: () => tf.argMin(matrix(), 0),
  Bincount: () =>
    tf.bincount(integers<tf.Rank.R1>([12], 0, 5), floats<tf.Rank.R1>([12]), 6),
  Cumprod: () => tf.cumprod(matrix(), 1, true, true),
  Cumsum: () => tf.cumsum(matrix(), 1, false, true),
  Max: () => tf.max(matrix(), 1, true),
  Mean: () => tf.mean(matrix(), [0, 1]),
  Min: () => tf.min(matrix(), 0),
  Prod: () => tf.prod(matrix(), 1),
  Softmax: () => tf.softmax(matrix()),
  Sum: () => tf.sum(matrix(), 1, true),
  TopK: () => Object.values(tf.topk(matrix(), 2)),
  UnsortedSegmentSum: () =>
    tf.unsortedSegmentSum(matrix(), tf.tensor1d([2, 0, 2], "int32"), 4),
});

const LAYOUT = cases(EXACT, {
  BatchToSpaceND: () =>
    tf.batchToSpaceND(floats([4, 2, 2, 3]), [2, 2], [[0, 1], [1, 0]]),
  BroadcastArgs: () =>
    tf.broadcastArgs(
      tf.tensor1d([3, 1], "int32"),
      tf.tensor1d([1, 4], "int32"),
    ),
  Cast: () => tf.cast(vector(-4, 4), "int32"),
  ClipByValue: () => tf.clipByValue(vector(), -0.3, 0.4),
  Concat: () => tf.concat([matrix(), matrix(), floats([3, 1])], 1),
  DepthToSpace: () => tf.depthToSpace(floats([1, 2, 2, 12]), 2),
  Diag: () => tf.diag(floats([4])),
  ExpandDims: () => tf.expandDims(matrix(), 1),
  Fill: () => tf.fill([2, 3], 0.25),
  FlipLeftRight: () => tf.image.flipLeftRight(image()),
  GatherNd: () =>
    tf.gatherND(matrix(), tf.tensor2d([[0, 1], [2, 3]], [2, 2], "int32")),
  GatherV2: () =>
    tf.gather(matrix(), tf.tensor2d([[0, 2], [1, 1]], [2, 2], "int32"), 1),
  Identity: () => tf.clone(matrix()),
  MirrorPad: () => tf.mirrorPad(matrix(), [[1, 1], [2, 0]], "reflect"),
  OneHot: () => tf.oneHot(integers([5], 0, 4), 4, 2, -1),
  OnesLike: () => tf.onesLike(matrix()),
  Pack: () => tf.stack([matrix(), matrix()], 1),
  PadV2: () => tf.pad(matrix(), [[1, 0], [0, 2]], 0.5),
  Range: () => tf.range(3, -5, -2, "int32"),
  Reshape: () => tf.reshape(matrix(), [2, -1]),
  Reverse: () => tf.reverse(matrix(), [1]),
  ScatterNd: () =>
    tf.scatterND(tf.tensor2d([[1], [4], [1]], [3, 1], "int32"), floats([3]), [
      6,
    ]),
  Slice: () => tf.slice(matrix(), [1, 0], [2, 3]),
  SpaceToBatchND: () =>
    tf.spaceToBatchND(floats([1, 4, 4, 2]), [2, 2], [[0, 0], [2, 0]]),
  SparseToDense: () =>
    tf.sparseToDense(tf.tensor1d([1, 4], "int32"), floats([2]), [6], 0.5),
  SplitV: () => tf.split(matrix(), [1, 3], 1),
  StaticRegexReplace: () =>
    tf.string.staticRegexReplace(strings(), "[aé]", "<&>"),
  StridedSlice: () => tf.stridedSlice(matrix(), [2, 0], [0, 4], [-1, 2]),
  TensorScatterUpdate: () =>
    tf.tensorScatterUpdate(
      matrix(),
      tf.tensor2d([[0], [2]], [2, 1], "int32"),
      floats([2, 4], 2, 3),
    ),
  Tile: () => tf.tile(matrix(), [2, 3]),
  Transpose: () => tf.transpose(floats([2, 3, 4]), [2, 0, 1]),
  Unique: () => Object.values(tf.unique(tf.tensor1d([4, 2, 4, 7, 2], "int32"))),
  Unpack: () => tf.unstack(matrix(), 1),
  ZerosLike: () => tf.zerosLike(matrix()),
});

const PRODUCTS = cases(CLOSE, {
  BatchMatMul: () =>
    tf.matMul(floats([2, 3, 4]), floats([2, 5, 4]), false, true),
  ComplexAbs: () => tf.abs(complex()),
  Conv2D: () => tf.conv2d(image(), filter(), [2, 1], "same"),
  Conv2DBackpropFilter: () =>
    gradient((it) => tf.conv2d(image(), it, 2, "valid"), filter()),
  Conv2DBackpropInput: () =>
    gradient((it) => tf.conv2d(it, filter(), 1, "same"), image()),
  Conv3D: () => tf.conv3d(volume(), cube(), 1, "same"),
  Conv3DBackpropFilterV2: () =>
    gradient((it) => tf.conv3d(volume(), it, 1, "valid"), cube()),
  Conv3DBackpropInputV2: () =>
    gradient((it) => tf.conv3d(it, cube(), 1, "same"), volume()),
  DepthwiseConv2dNative: () =>
    tf.depthwiseConv2d(image(), depthwise(), 1, "same"),
  DepthwiseConv2dNativeBackpropFilter: () =>
    gradient((it) => tf.depthwiseConv2d(image(), it, 1, "valid"), depthwise()),
  DepthwiseConv2dNativeBackpropInput: () =>
    gradient((it) => tf.depthwiseConv2d(it, depthwise(), 1, "same"), image()),
  Einsum: () => tf.einsum("bij,bkj->bik", floats([2, 3, 4]), floats([2, 5, 4])),
  FFT: () => parts(tf.fft(complex())),
  FusedConv2D: () =>
    tf.fused.conv2d({
      x: image(),
      filter: filter(),
      strides: 1,
      pad: "same",
      bias: floats([4]),
      activation: "relu",
    }),
  FusedDepthwiseConv2D: () =>
    tf.fused.depthwiseConv2d({
      x: image(),
      filter: depthwise(),
      strides: 1,
      pad: "same",
      bias: floats([6]),
      activation: "relu6",
    }),
  IFFT: () => parts(tf.ifft(complex())),
  Imag: () => tf.imag(complex()),
  LinSpace: () => tf.linspace(-1, 2, 7),
  Real: () => tf.real(complex()),
  _FusedMatMul: () =>
    tf.fused.matMul({
      a: matrix(),
      b: floats([4, 5]),
      bias: floats([5]),
      activation: "elu",
    }),
});

const IMAGES = cases(CLOSE, {
  AvgPool: () => tf.avgPool(image(), 3, 2, "same"),
  AvgPool3D: () => tf.avgPool3d(volume(), 2, 1, "same"),
  AvgPool3DGrad: () =>
    gradient((it) => tf.avgPool3d(it, 2, 1, "valid"), volume()),
  // With "same", the CPU backend divides by the whole window at the edge, which
  // is not the gradient of its mean; the library does not.
  AvgPoolGrad: () => gradient((it) => tf.avgPool(it, 3, 2, "valid"), image()),
  CropAndResize: () =>
    tf.image.cropAndResize(
      image(),
      tf.tensor2d([[0, 0, 0.5, 1], [0.2, 0.1, 1.2, 0.9]]),
      tf.tensor1d([1, 0], "int32"),
      [4, 3],
      "bilinear",
      0.5,
    ),
  Dilation2D: () => tf.dilation2d(image(), structuring(), 1, "same"),
  Dilation2DBackpropFilter: () =>
    gradient((it) => tf.dilation2d(image(), it, 1, "valid"), structuring()),
  Dilation2DBackpropInput: () =>
    gradient((it) => tf.dilation2d(it, structuring(), 1, "valid"), image()),
  FusedBatchNorm: () =>
    tf.batchNorm(
      image(),
      floats([3]),
      floats([3], 0.5, 2),
      floats([3]),
      floats([3], 0.5, 2),
      1e-3,
    ),
  LRN: () => tf.localResponseNormalization(image(), 2, 1, 0.5, 0.75),
  LRNGrad: () =>
    gradient(
      (it) => tf.localResponseNormalization(it, 2, 1, 0.5, 0.75),
      image(),
    ),
  MaxPool: () => tf.maxPool(image(), 3, 2, "same"),
  MaxPool3D: () => tf.maxPool3d(volume(), 2, 1, "same"),
  MaxPool3DGrad: () =>
    gradient((it) => tf.maxPool3d(it, 2, 1, "valid"), volume()),
  MaxPoolGrad: () => gradient((it) => tf.maxPool(it, 3, 2, "same"), image()),
  NonMaxSuppressionV3: () =>
    tf.image.nonMaxSuppression(boxes(), scores(), 3, 0.5, 0.2),
  NonMaxSuppressionV4: () =>
    Object.values(
      tf.image.nonMaxSuppressionPadded(boxes(), scores(), 3, 0.5, 0.2, true),
    ),
  // Boxes that overlap more than the threshold are dropped by the CPU backend,
  // while the library lowers their scores: so the threshold is 1.
  NonMaxSuppressionV5: () =>
    Object.values(
      tf.image.nonMaxSuppressionWithScore(boxes(), scores(), 3, 1, 0.2, 0.5),
    ),
  ResizeBilinear: () => tf.image.resizeBilinear(image(), [4, 9], true),
  ResizeBilinearGrad: () =>
    gradient((it) => tf.image.resizeBilinear(it, [4, 9], true), image()),
  ResizeNearestNeighbor: () =>
    tf.image.resizeNearestNeighbor(image(), [4, 9], false, true),
  ResizeNearestNeighborGrad: () =>
    gradient((it) => tf.image.resizeNearestNeighbor(it, [4, 9], true), image()),
});

const CASES = [
  ...UNARY,
  ...BINARY,
  ...LOGICAL,
  ...REDUCTIONS,
  ...LAYOUT,
  ...PRODUCTS,
  ...IMAGES,
];

/** A result's type, shape and values. */
interface Result {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly values: ArrayLike<number | string>;
}

/** Results on a backend, and the kernels that gave them. */
async function runOn(
  backend: string,
  { run }: Case,
): Promise<{ results: Result[]; kernels: readonly string[] }> {
  await tf.setBackend(backend);
  tf.engine().startScope();
  try {
    const results: Result[] = [];
    const { kernelNames } = await tf.profile(() => {
      for (const tensor of [run()].flat() as tf.Tensor[]) {
        const { dtype, shape } = tensor;
        results.push({ dtype, shape, values: tensor.dataSync() });
      }
      return [];
    });
    return { results, kernels: kernelNames };
  } finally {
    tf.engine().endScope();
    await tf.setBackend(BACKEND);
  }
}

/** The first difference between two results; undefined if there is none. */
function difference(
  actual: Result,
  expected: Result,
  tolerance: number,
): string | undefined {
  const type = ({ dtype, shape }: Result) => `${dtype} [${shape}]`;
  if (type(actual) !== type(expected)) {
    return `${type(actual)} instead of ${type(expected)}`;
  }
  for (let i = 0; i < expected.values.length; i++) {
    const value = actual.values[i]!;
    const other = expected.values[i]!;
    const limit = tolerance * Math.max(1, Math.abs(Number(other)));
    const isSame = Object.is(value, other) || value === other ||
      Math.abs(Number(value) - Number(other)) <= limit;
    if (!isSame) return `${value} instead of ${other} at ${i}`;
  }
  return undefined;
}

Deno.test(
  "each kernel of tfjs-node-gpu has a case, or a reason why it has none",
  ofLibrary,
  () => {
    const registered = tf.getKernelsForBackend(BACKEND)
      .map(({ kernelName }) => kernelName).sort();
    const covered = [
      ...CASES.map(({ kernel }) => kernel),
      ...Object.keys(NOT_COMPARED),
    ].sort();
    assertEquals(covered, registered);
    assertEquals(registered.length, 155);
  },
);

Deno.test(
  "each kernel of tfjs-node-gpu computes on libtensorflow what tfjs computes on its CPU backend",
  ofLibrary,
  async () => {
    const faults: string[] = [];
    for (const it of CASES) {
      const { kernel, tolerance } = it;
      try {
        const { results: expected } = await runOn("cpu", it);
        const { results: actual, kernels } = await runOn(BACKEND, it);
        if (!kernels.includes(kernel)) {
          faults.push(`${kernel} does not run, but ${kernels}`);
        }
        if (actual.length !== expected.length) {
          faults.push(
            `${kernel}: ${actual.length} of ${expected.length} results`,
          );
        }
        for (const [i, result] of expected.entries()) {
          const found = difference(actual[i]!, result, tolerance);
          if (found !== undefined) {
            faults.push(
              `${kernel}, result ${i}: ${found}`,
            );
          }
        }
      } catch (error) {
        faults.push(`${kernel}: ${(error as Error).message}`);
      }
    }
    assertEquals(faults, []);
  },
);

Deno.test(
  "multinomial(), which draws at random, draws the only likely class",
  ofLibrary,
  () => {
    const logits = tf.tensor2d([[0, 90, 0], [90, 0, 0]]);
    const drawn = tf.multinomial(logits, 4, 7) as tf.Tensor2D;
    assertEquals(drawn.arraySync(), [[1, 1, 1, 1], [0, 0, 0, 0]]);
    assertEquals(drawn.dtype, "int32");
  },
);

Deno.test(
  "a trace computes a convolution, with attributes of all kinds, as without one",
  ofLibrary,
  () => {
    const f = ({ x }: { x: tf.Tensor }) => ({
      y: tf.leakyRelu(
        tf.conv2d(x as tf.Tensor4D, filter(), [2, 1], "same"),
        0.3,
      ),
    });
    const x = image();
    assertEquals(trace(f)({ x }).y.dataSync(), f({ x }).y.dataSync());
  },
);

Deno.test(
  "executeOp() takes attributes that are shapes and lists of floats, types and strings",
  ofLibrary,
  () => {
    const { float32, int32 } = DataType;
    const ids = tensorIds([
      matrix(),
      integers([2], 0, 9),
      tf.ones([1, 9, 9, 1]),
    ]);
    const run = (
      opName: string,
      inputs: number[],
      attributes: [name: string, type: number, value: unknown][],
    ) =>
      tensorflow!.executeOp(
        opName,
        attributes.map(([name, type, value]) => ({ name, type, value })),
        inputs.map((i) => ids[i]!),
        3,
      ).map(({ shape, dtype }) => `${dtype}[${shape}]`);
    const { float, type, shape, string } = AttributeType;
    const ofFloats: [string, number, unknown] = ["T", type, float32];
    assertThrows(
      () => run("EnsureShape", [0], [ofFloats, ["shape", shape, [3, 5]]]),
      Error,
      "Shape of tensor dummy_input [3,4] is not compatible with expected shape [3,5]",
    );
    assertEquals(
      run("FractionalMaxPool", [2], [
        ofFloats,
        ["pooling_ratio", float, [1, 1.5, 1.25, 1]],
      ]),
      ["1[1,6,7,1]", "9[7]", "9[8]"],
    );
    assertEquals(
      run("IdentityN", [0, 1], [["T", type, [float32, int32]]]),
      ["1[3,4]", "3[2]"],
    );
    assertThrows(
      () =>
        run("DebugIdentity", [0], [
          ofFloats,
          ["tensor_name", string, "x:0"],
          ["debug_urls", string, ["nowhere://first", "nowhere://second"]],
        ]),
      Error,
      "nowhere://first",
    );
  },
);

Deno.test(
  "executeOp() refuses an attribute whose value does not fit its type",
  ofLibrary,
  () => {
    const [id] = tensorIds([vector()]);
    const attribute = {
      name: "alpha",
      type: AttributeType.float,
      value: "0.2",
    };
    assertThrows(
      () => tensorflow!.executeOp("LeakyRelu", [attribute], [id!], 1),
      TypeError,
      'Attribute "alpha" of operation "LeakyRelu" is "0.2", which is no value of attribute type 2',
    );
  },
);

Deno.test(
  "strings are copied into the library and freed with their tensor",
  ofLibrary,
  () => {
    const before = tensorflow!.getNumOfTensors();
    const long = strings();
    const joined = tf.concat([long, long]);
    long.dispose();
    assertEquals(
      String(joined.dataSync().at(-1)),
      "a string of more than 22 bytes, in the heap",
    );
    joined.dispose();
    assertEquals(tensorflow!.getNumOfTensors(), before);
  },
);
