#ifndef ASCEND310_INFER_INFER_SESSION_H_
#define ASCEND310_INFER_INFER_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// Type is numpy's name: float32, float16, int32, int64, uint8, bool. A side of -1 is not fixed.
struct TensorInfo {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;
};

struct Tensor : TensorInfo {
  std::vector<char> data;
};

// Bytes of one element. Throws InferError for another type.
size_t ElementSize(const std::string &type);

// Bytes of a whole tensor.
size_t ByteSize(const std::string &type, const std::vector<int64_t> &shape);

// "[1, 3, 300, 300]"; a side that is not fixed is "?".
std::string ShapeText(const std::vector<int64_t> &shape);

// Whether one image's row of a tensor contains no NaN and no infinity.
bool IsFinite(const Tensor &tensor, size_t row);

struct SessionOptions {
  std::string model_path;
  std::string device_type;     // CPU or Ascend
  int device_id = 0;
  std::string precision_mode;  // empty: the engine's default
  int threads = 0;             // 0: as many as the engine likes
  std::string aipp_path;       // empty: the model takes normalised float32
  std::string python;          // of the mindspore engine
};

// A loaded model. Errors are InferError.
class InferSession {
 public:
  virtual ~InferSession() = default;

  // In the model's order; empty if the engine does not know them before it runs.
  virtual std::vector<TensorInfo> Inputs() const = 0;

  // The outputs of all inputs, both in the model's order. Not to be called from two threads.
  virtual std::vector<Tensor> Run(const std::vector<Tensor> &inputs) = 0;
};

// Whether a path has this ending, in upper or lower case.
bool HasEnding(const std::string &path, const std::string &ending);

// The engines in this program, in order of preference.
std::vector<std::string> BuiltEngines();

// The engine for a model file if none is named. Throws UsageError if no engine in this program reads it.
std::string EngineFor(const std::string &model_path);

// Throws UsageError for an unknown engine or one that is not in this program.
std::unique_ptr<InferSession> OpenSession(const std::string &engine, const SessionOptions &options);

#endif  // ASCEND310_INFER_INFER_SESSION_H_
