#ifndef ASCEND310_INFER_RESULT_FOLDER_H_
#define ASCEND310_INFER_RESULT_FOLDER_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "infer_session.h"

struct ImageSize {
  int height = 0;
  int width = 0;
  int orientation = 1;  // EXIF orientation that was applied
};

// result_Files and time_Result. Errors are InferError.
class ResultFolder {
 public:
  // Makes the folders, and removes the list of an earlier run, so that an unfinished run has no list.
  ResultFolder(const std::filesystem::path &root, const std::string &model, const std::string &engine);

  // Writes row `row` of every output as result_Files/<name>_<i>.bin; a name may hold folders.
  void Add(const std::string &name, const ImageSize &size, const std::vector<Tensor> &outputs, size_t row);

  // Writes outputs.json, which postprocess.py reads, and time_Result/test_perform_static.txt.
  void Finish(double inference_ms, size_t calls) const;

 private:
  std::filesystem::path root_;
  std::string model_;
  std::string engine_;
  std::vector<TensorInfo> outputs_;  // without the batch axis
  std::map<std::string, ImageSize> images_;
};

#endif  // ASCEND310_INFER_RESULT_FOLDER_H_
