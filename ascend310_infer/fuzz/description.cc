// Any bytes as the json beside a model: accepted or refused by one of our errors.
#include "model_description.h"

#include "dvpp.h"
#include "errors.h"
#include "file.h"
#include "files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try {
    const ModelDescription description = ReadDescription(AsFile(data, size));
    CheckDescription(description);
    AippConfig(description);
  } catch (const UsageError &error) {
    Shown(error.what());
  } catch (const InferError &error) {
    Shown(error.what());
  }
  return 0;
}
