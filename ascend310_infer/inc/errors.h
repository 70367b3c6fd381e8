#ifndef ASCEND310_INFER_ERRORS_H_
#define ASCEND310_INFER_ERRORS_H_

#include <stdexcept>

// Wrong use: an unknown flag, a missing path. Exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A model that cannot be loaded or run, a folder that cannot be written. Exit code 1.
struct InferError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// One unreadable file, or one image with unusable outputs; other images are not affected. The message does not contain
// the name of the file.
struct FileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

#endif  // ASCEND310_INFER_ERRORS_H_
