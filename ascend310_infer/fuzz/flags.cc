// Any lines as the arguments of a command line.
#include "flags.h"

#include <sstream>

#include "errors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::istringstream lines({data, data + size});
  std::vector<std::string> arguments = {"main"};
  for (std::string line; std::getline(lines, line);) {
    arguments.push_back(line.substr(0, line.find('\0')));
  }
  std::vector<const char *> pointers;
  for (const std::string &argument : arguments) {
    pointers.push_back(argument.c_str());
  }
  try {
    ParseFlags(static_cast<int>(pointers.size()), pointers.data());
  } catch (const UsageError &) {
  } catch (const InferError &) {
  }
  return 0;
}
