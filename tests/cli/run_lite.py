"""Converts an ONNX file with MindSpore Lite 2.0.0 and runs it:
python3.7 tests/cli/run_lite.py MODEL.onnx INPUTS.npz OUTPUTS.npz

Needs mindspore-lite==2.0.0 and nothing else of this project. The arrays of INPUTS.npz are fed in the order of their
names. The converted model lies beside OUTPUTS.npz, as .mindir.
"""
import os
import sys

import mindspore_lite as lite
import numpy as np

THREADS = 2


def main(model_path, inputs_path, outputs_path):
    converted = os.path.splitext(outputs_path)[0]
    converter = lite.Converter()
    converter.save_type = lite.ModelType.MINDIR
    converter.convert(lite.FmkType.ONNX, model_path, converted)
    context = lite.Context()
    context.target = ["cpu"]
    context.cpu.thread_num = THREADS
    context.cpu.precision_mode = "enforce_fp32"
    model = lite.Model()
    model.build_from_file(converted + ".mindir", lite.ModelType.MINDIR, context)
    inputs = model.get_inputs()
    with np.load(inputs_path) as arrays:
        for tensor, name in zip(inputs, sorted(arrays.files)):
            tensor.set_data_from_numpy(np.ascontiguousarray(arrays[name]))
    outputs = model.predict(inputs)
    np.savez(outputs_path, **{tensor.name: tensor.get_data_to_numpy() for tensor in outputs})
    sys.stdout.flush()
    os._exit(0)     # Lite 2.0.0 crashes while Python ends


if __name__ == "__main__":
    main(*sys.argv[1:])
