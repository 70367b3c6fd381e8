#include "flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <sstream>
#include <vector>

#include "errors.h"

namespace {

int WholeNumber(const std::string &text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) {
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
  throw UsageError("'" + text + "' is not true or false");
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

using Values = std::function<void(const std::string &)>;

// The command line. CLI11 stores the values in `options` while it parses.
class CommandLine {
 public:
  explicit CommandLine(Options *options);

  // Throws UsageError.
  void Parse(int argc, const char *const *argv);

  std::string Listed() const;

 private:
  CLI::Option *Add(const std::string &names, const std::string &kind, const std::string &help, const Values &set);
  void Text(const std::string &names, const std::string &kind, const std::string &help, std::string *target);
  void Number(const std::string &names, const std::string &help, int *target);
  void Switch(const std::string &names, const std::string &help, bool *target);
  std::vector<std::string> Arguments(int argc, const char *const *argv) const;

  CLI::App app_;
  bool unused_ = false;
};

CLI::Option *CommandLine::Add(const std::string &names, const std::string &kind, const std::string &help,
                              const Values &set) {
  const std::string name = names.substr(0, names.find(','));
  const auto checked = [name, set](const std::string &value) {
    if (value.compare(0, 2, "--") == 0) {
      throw UsageError(name + " needs a value, not '" + value + "'");
    }
    try {
      set(value);
    } catch (const UsageError &error) {
      throw UsageError(name + ": " + error.what());
    }
  };
  return app_.add_option_function<std::string>(names, checked, help)
      ->type_name(kind)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void CommandLine::Text(const std::string &names, const std::string &kind, const std::string &help,
                       std::string *target) {
  Add(names, kind, help, [target](const std::string &value) { *target = value; });
}

void CommandLine::Number(const std::string &names, const std::string &help, int *target) {
  Add(names, "NUMBER", help, [target](const std::string &value) { *target = WholeNumber(value); });
}

void CommandLine::Switch(const std::string &names, const std::string &help, bool *target) {
  Add(names, "true|false", help, [target](const std::string &value) {
    *target = value.empty() || TrueOrFalse(value);  // the name alone means true
  })->expected(0, 1);
}

CommandLine::CommandLine(Options *o) {
  app_.set_help_flag("-h,--help", "print this help");
  app_.allow_extras();
  ModelDescription *model = &o->description;
  SessionOptions *session = &o->session;
  Text("--mindir_path,--model_path", "FILE", "the exported model: .mindir, .ms, .onnx or .xml", &session->model_path);
  Text("--sidecar_path", "FILE",
       "description file that export.py wrote: input size, mean, std, ... (the one beside the model)",
       &o->sidecar_path);
  Text("--dataset_path,--data_path", "FOLDER", "images, JPEG, PNG or BMP", &o->dataset_path);
  Text("--input0_path", "FOLDER", "inputs from preprocess.py, instead of images", &o->input0_path);
  Text("--result_path", "FOLDER", "where result_Files and time_Result are written (.)", &o->result_path);
  Text("--engine", "NAME", "mslite, openvino or mindspore (chosen by the ending of the model)", &o->engine);
  Add("--device_type", "NAME", "Ascend, Ascend310, Ascend310P or CPU (Ascend with mslite, else CPU)",
      [session](const std::string &value) {
        const std::string type = OneOf(value, {"Ascend", "Ascend310", "Ascend310P", "CPU"});
        session->device_type = type == "CPU" ? "CPU" : "Ascend";
      });
  Number("--device_id", "Ascend device (0)", &session->device_id);
  Text("--precision_mode", "NAME",
       "openvino: f32 (default), bf16, f16; mslite on Ascend: preferred_fp32 (default), enforce_fp32, enforce_fp16, "
       "enforce_origin, preferred_optimal", &session->precision_mode);
  Add("--cpu_dvpp", "NAME", "CPU: images are prepared by OpenCV (default); DVPP: by the Ascend's decoder, with AIPP",
      [o](const std::string &value) { o->dvpp = OneOf(value, {"CPU", "DVPP"}) == "DVPP"; });
  Text("--aipp_path", "FILE",
       "AIPP configuration, for DVPP (one is written for the model, as aipp.cfg in result_path)", &session->aipp_path);
  Number("--threads", "openvino, mslite: threads of the network on a CPU (all cores)", &session->threads);
  Number("--readers", "threads that read and prepare images (all cores)", &o->readers);
  Text("--python", "FILE", "engine mindspore: the Python that has MindSpore (the one named to build.sh)",
       &session->python);
  Text("--save_inputs", "FOLDER", "also write the network inputs, as <image>.bin", &o->save_inputs);
  Switch("--ignore_orientation", "do not turn images by their EXIF orientation (false)", &o->ignore_orientation);
  Text("--orientations_path", "FILE",
       "orientations.json that audit.py or postprocess.py wrote: the EXIF orientation to use for images whose boxes "
       "do not fit their own", &o->orientations_path);
  Number("--max_image_pixels", "larger images are not decoded (" + std::to_string(kMaxPixels) + ")",
         &o->max_image_pixels);
  Number("--image_height,--IMAGEHEIGHT", "height of the network input", &model->height);
  Number("--image_width,--IMAGEWIDTH", "width of the network input", &model->width);
  Switch("--keep_ratio,--KEEP_RATIO", "scale images without distortion", &model->keep_ratio);
  Text("--placement", "NAME", "with keep_ratio: corner or center", &model->placement);
  Add("--resize_sides", "SHORT,LONG", "with keep_ratio: length of the shorter side, limit of the longer (as fits)",
      [model](const std::string &value) { model->resize_sides = Sides(value); });
  Text("--resized_as", "NAME", "uint8 or float32", &model->resized_as);
  Text("--padding", "NAME", "fills the input beside a smaller image: black, or mean (0 after mean and std)",
       &model->padding);
  Switch("--image_sizes", "the second input is the height and width that the image has in the first",
         &model->image_sizes);
  Add("--channels", "NAME", "RGB or BGR",
      [model](const std::string &value) { model->bgr = OneOf(value, {"RGB", "BGR"}) == "BGR"; });
  Add("--mean", "R,G,B", "subtracted from values of 0 to 255, in the order of the channels",
      [model](const std::string &value) { model->mean = Colors(value); });
  Add("--std", "R,G,B", "divisors of the values after the mean is subtracted",
      [model](const std::string &value) { model->std = Colors(value); });
  Number("--batch_size", "images per call, as exported (1)", &model->batch_size);
  // postprocess.py always returns boxes in pixels of the image.
  Switch("--RESTOREBBOX", "accepted for old command lines, without effect", &unused_);
}

// Arguments for CLI11: -name of the old applications becomes --name, and an empty value becomes a separate argument,
// because CLI11 would otherwise take the next argument as the value.
std::vector<std::string> CommandLine::Arguments(int argc, const char *const *argv) const {
  std::vector<std::string> arguments;
  for (int index = 1; index < argc; ++index) {
    std::string argument = argv[index];
    const std::string name = argument.substr(0, argument.find('='));
    if (name.compare(0, 2, "--") != 0 && app_.get_option_no_throw("-" + name) != nullptr) {
      argument.insert(0, "-");
    }
    const bool empty_value = argument.compare(0, 2, "--") == 0 && argument.find('=') == argument.size() - 1;
    arguments.push_back(empty_value ? argument.substr(0, argument.size() - 1) : argument);
    if (empty_value) {
      arguments.emplace_back();
    }
  }
  return arguments;
}

void CommandLine::Parse(int argc, const char *const *argv) {
  std::vector<std::string> arguments = Arguments(argc, argv);
  const std::string last = arguments.empty() ? "" : arguments.back();
  std::reverse(arguments.begin(), arguments.end());  // CLI11 expects them in reverse
  try {
    app_.parse(arguments);
  } catch (const CLI::ArgumentMismatch &) {
    throw UsageError(last + " needs a value");
  }
  const std::vector<std::string> unknown = app_.remaining();
  if (!unknown.empty() && unknown[0].compare(0, 1, "-") == 0) {
    throw UsageError("unknown flag '" + unknown[0].substr(0, unknown[0].find('=')) + "'; --help lists them");
  }
  if (!unknown.empty()) {
    throw UsageError("unexpected argument '" + unknown[0] + "'; flags are written --name value");
  }
}

std::string CommandLine::Listed() const {
  std::string text;
  for (const CLI::Option *option : app_.get_options()) {
    std::string names = option->get_name(false, true);
    names.replace(std::min(names.find(','), names.size()), names.find(',') < names.size() ? 1 : 0, ", ");
    text += "  " + names + " " + option->get_type_name() + "\n      " + option->get_description() + "\n";
  }
  return text;
}

void CheckPlaces(const Options &options) {
  if (!std::filesystem::is_regular_file(options.session.model_path)) {
    throw UsageError(options.session.model_path.empty() ? "no model given; add --mindir_path FILE"
                                                        : options.session.model_path + " does not exist");
  }
  if (options.dataset_path.empty() == options.input0_path.empty()) {
    throw UsageError("give the images with --dataset_path FOLDER, or inputs with --input0_path FOLDER");
  }
  const std::string &folder = options.dataset_path.empty() ? options.input0_path : options.dataset_path;
  if (!std::filesystem::is_directory(folder)) {
    throw UsageError(folder + " is not a folder");
  }
  if (options.dvpp && options.description.with_postprocess) {
    throw UsageError("--cpu_dvpp DVPP normalises images itself, and this model contains that; export it without "
                     "--with_postprocess");
  }
  if (options.dvpp && (options.dataset_path.empty() || options.description.keep_ratio)) {
    throw UsageError("--cpu_dvpp DVPP takes images from --dataset_path, for models whose input is stretched");
  }
}

}  // namespace

Options ParseFlags(int argc, const char *const *argv) {
  Options options;
  CommandLine command_line(&options);
  try {
    command_line.Parse(argc, argv);
  } catch (const CLI::CallForHelp &) {
    options.help = true;
    return options;
  }
  if (options.sidecar_path.empty()) {
    const auto beside = std::filesystem::path(options.session.model_path).replace_extension(".json");
    options.sidecar_path = std::filesystem::is_regular_file(beside) ? beside.string() : "";
  }
  if (!options.sidecar_path.empty()) {
    options.description = ReadDescription(options.sidecar_path);
    command_line.Parse(argc, argv);  // flags win over the file
  }
  CheckPlaces(options);
  CheckDescription(options.description);
  return options;
}

std::string HelpText() {
  Options options;
  std::string text =
      "usage: main --mindir_path FILE --dataset_path FOLDER [--flag value ...]\n"
      "Runs an exported detector on a folder of images; postprocess.py turns its results into detections.\n\n" +
      CommandLine(&options).Listed() + "\nEngines built in:";
  for (const std::string &engine : BuiltEngines()) {
    text += " " + engine;
  }
  return text + "\n";
}
