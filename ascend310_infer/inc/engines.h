#ifndef ASCEND310_INFER_ENGINES_H_
#define ASCEND310_INFER_ENGINES_H_

#include <memory>

#include "infer_session.h"

// Each is defined in src/engine_<name>.cc, which CMake compiles when its option is on.
std::unique_ptr<InferSession> OpenMsLite(const SessionOptions &options);
std::unique_ptr<InferSession> OpenOpenVino(const SessionOptions &options);
std::unique_ptr<InferSession> OpenMindSpore(const SessionOptions &options);

#endif  // ASCEND310_INFER_ENGINES_H_
