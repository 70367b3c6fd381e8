#ifndef ASCEND310_INFER_INFER_SESSION_H_
#define ASCEND310_INFER_INFER_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// Type is numpy's word for it: float32, float16, int32, int64, uint8, bool.
struct Tensor {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;
  std::vector<char> data;
};

// Bytes of one element. Throws InferError for another type.
size_t ElementSize(const std::string &type);

// Bytes of a whole tensor.
size_t ByteSize(const std::string &type, const std::vector<int64_t> &shape);

std::string ShapeText(const std::vector<int64_t> &shape);

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

  // Of the only input; empty when the engine does not know it before it runs.
  virtual std::vector<int64_t> InputShape() const = 0;

  // The outputs in the model's order. Not to be called from two threads.
  virtual std::vector<Tensor> Run(const Tensor &input) = 0;
};

// The engines this program was built with, in the order in which they are preferred.
std::vector<std::string> BuiltEngines();

// The engine for a model file when none is named. Throws UsageError when none of the built ones takes it.
std::string EngineFor(const std::string &model_path);

// Throws UsageError for an engine that is unknown or not built in.
std::unique_ptr<InferSession> OpenSession(const std::string &engine, const SessionOptions &options);

#endif  // ASCEND310_INFER_INFER_SESSION_H_
