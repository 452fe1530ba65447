"""Checks models of ONNX and runs them with onnxruntime, for peer.ts.

Usage: python peer.py REQUEST.json

The request is a list of models, each with its `path` and `feeds`: safetensors files with the
inputs of a run, all in one session; integers are given as int64. Prints JSON: for each model and
feed the logits, as a flat list.
"""

import json
import sys

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file


def main() -> None:
    with open(sys.argv[1]) as file:
        request = json.load(file)
    print(json.dumps([run(**model) for model in request]))


def run(path: str, feeds: list[str]) -> list[list[float]]:
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {port.name for port in session.get_inputs()}

    def logits(feed: str) -> list[float]:
        tensors = {
            name: tensor.astype(numpy.int64) if tensor.dtype == numpy.int32 else tensor
            for name, tensor in load_file(feed).items() if name in names
        }
        return session.run(None, tensors)[0].flatten().tolist()

    return [logits(feed) for feed in feeds]


if __name__ == "__main__":
    main()
