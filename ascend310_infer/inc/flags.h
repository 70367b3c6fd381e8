#ifndef ASCEND310_INFER_FLAGS_H_
#define ASCEND310_INFER_FLAGS_H_

#include <string>

#include "image_file.h"
#include "infer_session.h"
#include "model_description.h"

struct Options {
  bool help = false;
  SessionOptions session;
  std::string engine;        // empty: by the ending of the model
  std::string sidecar_path;  // empty: there is none
  std::string dataset_path;  // folder of images
  std::string input0_path;   // folder of inputs that preprocess.py wrote, instead of images
  std::string result_path = ".";
  std::string save_inputs;   // folder for the network inputs, empty: not kept
  bool dvpp = false;
  bool ignore_orientation = false;
  std::string orientations_path;  // of single images; empty: all have their own
  int max_image_pixels = kMaxPixels;  // larger images are not decoded
  int readers = 0;           // threads that read images; 0: one per core
  ModelDescription description;
};

// Flags as --name value or --name=value. The settings of a model come from its description file; flags override them.
// Throws UsageError for an unknown flag or value, InferError for an unreadable description.
Options ParseFlags(int argc, const char *const *argv);

std::string HelpText();

#endif  // ASCEND310_INFER_FLAGS_H_
