#include "flags.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <sstream>
#include <vector>

#include "errors.h"

namespace {

struct Flag {
  std::string name;
  std::string alias;  // spelling of another of the old applications
  std::string kind;
  std::string help;
  std::function<void(Options *, const std::string &)> set;
};

int WholeNumber(const std::string &text) {
  size_t used = 0;
  int number = -1;
  try {
    number = std::stoi(text, &used);
  } catch (const std::logic_error &) {
    used = std::string::npos;
  }
  if (used != text.size() || number < 0) {
    throw UsageError("'" + text + "' is not a whole number from 0");
  }
  return number;
}

bool TrueOrFalse(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char letter) { return std::tolower(letter); });
  if (text == "true" || text == "1") {
    return true;
  }
  if (text == "false" || text == "0") {
    return false;
  }
  throw UsageError("'" + text + "' is neither true nor false");
}

std::array<float, 3> Colors(const std::string &text) {
  std::array<float, 3> colors{};
  std::istringstream stream(text);
  char comma = ',';
  for (size_t index = 0; index < colors.size(); ++index) {
    if ((index > 0 && !(stream >> comma)) || comma != ',' || !(stream >> colors[index])) {
      throw UsageError("'" + text + "' is not three numbers as in 123.675,116.28,103.53");
    }
  }
  if (stream.peek() != std::istringstream::traits_type::eof()) {
    throw UsageError("'" + text + "' has more than three numbers");
  }
  return colors;
}

std::array<int, 2> Sides(const std::string &text) {
  const size_t comma = text.find(',');
  if (comma == std::string::npos) {
    throw UsageError("'" + text + "' is not two numbers as in 800,1333");
  }
  return {WholeNumber(text.substr(0, comma)), WholeNumber(text.substr(comma + 1))};
}

// The word of `choices` that text is, whatever its capitals.
std::string OneOf(const std::string &text, const std::vector<std::string> &choices) {
  const auto same = [](unsigned char one, unsigned char other) { return std::tolower(one) == std::tolower(other); };
  for (const std::string &choice : choices) {
    if (std::equal(text.begin(), text.end(), choice.begin(), choice.end(), same)) {
      return choice;
    }
  }
  std::string listed;
  for (const std::string &choice : choices) {
    listed += (listed.empty() ? "" : ", ") + choice;
  }
  throw UsageError("'" + text + "': choose one of " + listed);
}

const std::vector<Flag> &Flags() {
  using Text = const std::string &;
  static const std::vector<Flag> flags = {
      {"mindir_path", "model_path", "FILE", "the exported model: .mindir, .ms, .onnx or .xml",
       [](Options *o, Text t) { o->session.model_path = t; }},
      {"sidecar_path", "", "FILE", "json that export.py wrote: input size, channels, mean, std, ... (beside the model)",
       [](Options *o, Text t) { o->sidecar_path = t; }},
      {"dataset_path", "data_path", "FOLDER", "pictures, JPEG, PNG or BMP",
       [](Options *o, Text t) { o->dataset_path = t; }},
      {"input0_path", "", "FOLDER", "inputs from preprocess.py, instead of pictures",
       [](Options *o, Text t) { o->input0_path = t; }},
      {"result_path", "", "FOLDER", "where result_Files and time_Result are written (.)",
       [](Options *o, Text t) { o->result_path = t; }},
      {"engine", "", "NAME", "mslite, openvino or mindspore (by the ending of the model)",
       [](Options *o, Text t) { o->engine = t; }},
      {"device_type", "", "NAME", "Ascend, Ascend310, Ascend310P or CPU (Ascend with mslite, else CPU)",
       [](Options *o, Text t) {
         o->session.device_type = OneOf(t, {"Ascend", "Ascend310", "Ascend310P", "CPU"}) == "CPU" ? "CPU" : "Ascend";
       }},
      {"device_id", "", "NUMBER", "Ascend device (0)", [](Options *o, Text t) { o->session.device_id = WholeNumber(t); }},
      {"precision_mode", "", "NAME",
       "openvino: f32 (default), bf16, f16; mslite on Ascend: preferred_fp32 (default), enforce_fp32, enforce_fp16, "
       "enforce_origin, preferred_optimal",
       [](Options *o, Text t) { o->session.precision_mode = t; }},
      {"cpu_dvpp", "", "NAME", "CPU: pictures are prepared by OpenCV (default); DVPP: by the Ascend's decoder, with AIPP",
       [](Options *o, Text t) { o->dvpp = OneOf(t, {"CPU", "DVPP"}) == "DVPP"; }},
      {"aipp_path", "", "FILE", "AIPP configuration, for DVPP (one is written for the model, as aipp.cfg in result_path)", [](Options *o, Text t) { o->session.aipp_path = t; }},
      {"threads", "", "NUMBER", "openvino, mslite: threads of the network on a CPU (all cores)",
       [](Options *o, Text t) { o->session.threads = WholeNumber(t); }},
      {"readers", "", "NUMBER", "threads that read and prepare pictures (all cores)",
       [](Options *o, Text t) { o->readers = WholeNumber(t); }},
      {"python", "", "FILE", "engine mindspore: the Python that has MindSpore (the one named to build.sh)",
       [](Options *o, Text t) { o->session.python = t; }},
      {"save_inputs", "", "FOLDER", "also write the network inputs, as <picture>.bin",
       [](Options *o, Text t) { o->save_inputs = t; }},
      {"ignore_orientation", "", "true|false", "do not turn pictures by their EXIF orientation (false)",
       [](Options *o, Text t) { o->ignore_orientation = TrueOrFalse(t); }},
      {"image_height", "IMAGEHEIGHT", "NUMBER", "height of the network input",
       [](Options *o, Text t) { o->description.height = WholeNumber(t); }},
      {"image_width", "IMAGEWIDTH", "NUMBER", "width of the network input",
       [](Options *o, Text t) { o->description.width = WholeNumber(t); }},
      {"keep_ratio", "KEEP_RATIO", "true|false", "scale pictures without distortion",
       [](Options *o, Text t) { o->description.keep_ratio = TrueOrFalse(t); }},
      {"placement", "", "NAME", "with keep_ratio: corner or center",
       [](Options *o, Text t) { o->description.placement = t; }},
      {"resize_sides", "", "SHORT,LONG", "with keep_ratio: length of the shorter side, limit of the longer (as fits)",
       [](Options *o, Text t) { o->description.resize_sides = Sides(t); }},
      {"resized_as", "", "NAME", "uint8 or float32", [](Options *o, Text t) { o->description.resized_as = t; }},
      {"padding", "", "NAME", "beside pictures that do not fill the input: black, or mean, which becomes 0",
       [](Options *o, Text t) { o->description.padding = t; }},
      {"channels", "", "NAME", "RGB or BGR", [](Options *o, Text t) { o->description.bgr = OneOf(t, {"RGB", "BGR"}) == "BGR"; }},
      {"mean", "", "R,G,B", "subtracted from values of 0 to 255, in the order of the channels",
       [](Options *o, Text t) { o->description.mean = Colors(t); }},
      {"std", "", "R,G,B", "divisors after that", [](Options *o, Text t) { o->description.std = Colors(t); }},
      {"batch_size", "", "NUMBER", "pictures per call, as exported (1)",
       [](Options *o, Text t) { o->description.batch_size = WholeNumber(t); }},
      // Takes no effect: boxes leave postprocess.py in pixels of the picture, whatever the model gives.
      {"RESTOREBBOX", "", "true|false", "accepted for old command lines, without effect",
       [](Options *, Text t) { TrueOrFalse(t); }},
  };
  return flags;
}

const Flag &FindFlag(const std::string &name) {
  for (const Flag &flag : Flags()) {
    if (name == flag.name || (name == flag.alias && !name.empty())) {
      return flag;
    }
  }
  throw UsageError("unknown flag '--" + name + "'; --help lists them");
}

struct Setting {
  std::string name;
  std::string value;
};

std::vector<Setting> Split(int argc, const char *const *argv) {
  std::vector<Setting> settings;
  for (int index = 1; index < argc; ++index) {
    const std::string argument = argv[index];
    const size_t dashes = argument.find_first_not_of('-');
    if (dashes == 0 || dashes == std::string::npos || dashes > 2) {
      throw UsageError("unexpected argument '" + argument + "'; flags are written --name value");
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(dashes, equals == std::string::npos ? equals : equals - dashes);
    if (equals != std::string::npos) {
      settings.push_back({name, argument.substr(equals + 1)});
    } else if (name == "help" || name == "h") {
      settings.push_back({"help", "true"});
    } else if (index + 1 < argc && std::string(argv[index + 1]).compare(0, 2, "--") != 0) {
      settings.push_back({name, argv[++index]});
    } else if (FindFlag(name).kind == "true|false") {
      settings.push_back({name, "true"});
    } else {
      throw UsageError("--" + name + " needs a value");
    }
  }
  return settings;
}

void Apply(const std::vector<Setting> &settings, Options *options) {
  for (const Setting &setting : settings) {
    const Flag &flag = FindFlag(setting.name);
    try {
      flag.set(options, setting.value);
    } catch (const UsageError &error) {
      throw UsageError("--" + setting.name + ": " + error.what());
    }
  }
}

void CheckPlaces(const Options &options) {
  if (!std::filesystem::is_regular_file(options.session.model_path)) {
    throw UsageError(options.session.model_path.empty() ? "no model given; add --mindir_path FILE"
                                                        : options.session.model_path + " does not exist");
  }
  if (options.dataset_path.empty() == options.input0_path.empty()) {
    throw UsageError("give the pictures with --dataset_path FOLDER, or inputs with --input0_path FOLDER");
  }
  const std::string &folder = options.dataset_path.empty() ? options.input0_path : options.dataset_path;
  if (!std::filesystem::is_directory(folder)) {
    throw UsageError(folder + " is no folder");
  }
  if (options.dvpp && (options.dataset_path.empty() || options.description.keep_ratio)) {
    throw UsageError("--cpu_dvpp DVPP takes pictures from --dataset_path, for models whose input is stretched");
  }
}

}  // namespace

Options ParseFlags(int argc, const char *const *argv) {
  Options options;
  const std::vector<Setting> settings = Split(argc, argv);
  for (const Setting &setting : settings) {
    options.help = options.help || setting.name == "help";
  }
  if (options.help) {
    return options;
  }
  Apply(settings, &options);
  if (options.sidecar_path.empty()) {
    const auto beside = std::filesystem::path(options.session.model_path).replace_extension(".json");
    options.sidecar_path = std::filesystem::is_regular_file(beside) ? beside.string() : "";
  }
  if (!options.sidecar_path.empty()) {
    options.description = ReadDescription(options.sidecar_path);
    Apply(settings, &options);  // flags win over the file
  }
  CheckPlaces(options);
  CheckDescription(options.description);
  return options;
}

std::string HelpText() {
  std::string text =
      "usage: main --mindir_path FILE --dataset_path FOLDER [--flag value ...]\n"
      "Runs an exported detector on a folder of pictures; postprocess.py makes detections of its results.\n\n";
  for (const Flag &flag : Flags()) {
    text += "  --" + flag.name + (flag.alias.empty() ? "" : ", --" + flag.alias) + " " + flag.kind + "\n      " +
            flag.help + "\n";
  }
  text += "\nEngines built in:";
  for (const std::string &engine : BuiltEngines()) {
    text += " " + engine;
  }
  return text + "\n";
}
