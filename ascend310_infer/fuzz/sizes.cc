// Any bytes as the sizes.json of preprocess.py; names that are accepted cannot leave a folder.
#include <cstdlib>

#include "errors.h"
#include "file.h"
#include "files.h"
#include "reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try {
    for (const auto &item : ReadSizes(AsFile(data, size))) {
      if (!LiesIn("/inputs/" + item.first, "/inputs")) {
        std::abort();
      }
    }
  } catch (const InferError &error) {
    Shown(error.what());
  }
  return 0;
}
