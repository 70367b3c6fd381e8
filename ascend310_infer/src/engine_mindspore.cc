// MindSpore on a CPU: a Python interpreter inside this program runs the same .mindir file as an Ascend. MindSpore no
// longer ships a C++ API, and its Python package has no headers for one.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>

#include "engines.h"
#include "errors.h"

namespace {

// The Python part; the C++ code passes bytes in and out.
constexpr char kProgram[] = R"(
import numpy as np
import mindspore as ms
from mindspore import nn


def load(path):
    ms.set_device("CPU")
    return nn.GraphCell(ms.load(path))


def run(graph, inputs):
    outputs = graph(*(ms.Tensor(np.frombuffer(data, kind).reshape(shape)) for kind, shape, data in inputs))
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    arrays = [np.ascontiguousarray(output.asnumpy()) for output in outputs]
    return [(str(array.dtype), array.shape, array.tobytes()) for array in arrays]
)";

struct Release {
  void operator()(PyObject *object) const { Py_XDECREF(object); }
};
using Object = std::unique_ptr<PyObject, Release>;

// The object; throws the Python error as InferError if there is none.
Object Checked(PyObject *object, const std::string &what) {
  if (object != nullptr) {
    return Object(object);
  }
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  const Object owned_type(type), owned_value(value), owned_trace(trace);
  const Object text(value == nullptr ? nullptr : PyObject_Str(value));
  const char *message = text == nullptr ? nullptr : PyUnicode_AsUTF8(text.get());
  const std::string all = message == nullptr ? "unknown Python error" : message;
  std::string reason = all.substr(0, all.find("\n\n"));  // MindSpore puts its C++ stack below
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  throw InferError(what + ": " + reason);
}

void StartPython(const std::string &executable) {
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  // The packages of the environment are found from the place of its executable.
  PyStatus status = PyConfig_SetBytesString(&config, &config.executable, executable.c_str());
  if (!PyStatus_Exception(status)) {
    status = Py_InitializeFromConfig(&config);
  }
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status)) {
    throw InferError("Python does not start: " + std::string(status.err_msg == nullptr ? "" : status.err_msg));
  }
}

// One per process: MindSpore cannot be started twice.
class MindSporeSession : public InferSession {
 public:
  explicit MindSporeSession(const SessionOptions &options) {
    if (!options.precision_mode.empty()) {
      throw UsageError("--precision_mode: the engine mindspore computes as the model was exported");
    }
    StartPython(options.python.empty() ? INFER_PYTHON : options.python);
    const Object code = Checked(Py_CompileString(kProgram, "engine_mindspore", Py_file_input), "engine mindspore");
    module_ = Checked(PyImport_ExecCodeModule("engine_mindspore", code.get()), "MindSpore cannot be imported");
    graph_ = Checked(PyObject_CallMethod(module_.get(), "load", "s", options.model_path.c_str()),
                     options.model_path + " cannot be loaded");
  }

  // MindSpore must clean up while Python still exists, so not after main.
  ~MindSporeSession() override {
    graph_.reset();
    module_.reset();
    Py_FinalizeEx();
  }

  std::vector<TensorInfo> Inputs() const override { return {}; }

  std::vector<Tensor> Run(const std::vector<Tensor> &inputs) override {
    const Object list = Checked(PyList_New(0), "out of memory");
    for (const Tensor &input : inputs) {
      const Object item = ToPython(input);
      PyList_Append(list.get(), item.get());
    }
    const Object found = Checked(PyObject_CallMethod(module_.get(), "run", "OO", graph_.get(), list.get()),
                                 "the model cannot be run");
    std::vector<Tensor> outputs;
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(found.get()); ++index) {
      outputs.push_back(ToTensor(PyList_GET_ITEM(found.get(), index)));
    }
    return outputs;
  }

 private:
  static Object ToPython(const Tensor &input) {
    Object shape = Checked(PyTuple_New(static_cast<Py_ssize_t>(input.shape.size())), "out of memory");
    for (size_t axis = 0; axis < input.shape.size(); ++axis) {
      PyTuple_SET_ITEM(shape.get(), static_cast<Py_ssize_t>(axis), PyLong_FromLongLong(input.shape[axis]));
    }
    return Checked(Py_BuildValue("sNy#", input.type.c_str(), shape.release(), input.data.data(),
                                 static_cast<Py_ssize_t>(input.data.size())), "out of memory");
  }

  static Tensor ToTensor(PyObject *item) {
    Tensor tensor;
    tensor.type = PyUnicode_AsUTF8(PyTuple_GET_ITEM(item, 0));
    PyObject *shape = PyTuple_GET_ITEM(item, 1), *bytes = PyTuple_GET_ITEM(item, 2);
    for (Py_ssize_t axis = 0; axis < PyTuple_GET_SIZE(shape); ++axis) {
      tensor.shape.push_back(PyLong_AsLongLong(PyTuple_GET_ITEM(shape, axis)));
    }
    const char *data = PyBytes_AS_STRING(bytes);
    tensor.data.assign(data, data + PyBytes_GET_SIZE(bytes));
    return tensor;
  }

  Object module_;
  Object graph_;
};

}  // namespace

std::unique_ptr<InferSession> OpenMindSpore(const SessionOptions &options) {
  return std::make_unique<MindSporeSession>(options);
}
