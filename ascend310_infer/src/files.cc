#include "files.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "errors.h"

namespace fs = std::filesystem;

namespace {

// Number of bytes of the UTF-8 character at a position (RFC 3629), 0 if there is none.
size_t CharacterLength(const std::string &text, size_t position) {
  const auto byte = [&](size_t index) -> unsigned {
    return position + index < text.size() ? static_cast<unsigned char>(text[position + index]) : 0u;
  };
  const unsigned first = byte(0), second = byte(1);
  const size_t length =
      first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  for (size_t index = 1; index < length; ++index) {
    if ((byte(index) & 0xC0) != 0x80) {
      return 0;
    }
  }
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second >= 0xA0, too_large = first == 0xF4 && second >= 0x90;
  return overlong || surrogate || too_large ? 0 : length;
}

bool IsControl(const std::string &text, size_t position, size_t length) {
  const auto first = static_cast<unsigned char>(text[position]);
  const bool c1 = length == 2 && first == 0xC2 && static_cast<unsigned char>(text[position + 1]) < 0xA0;
  return first < 0x20 || first == 0x7F || c1;
}

std::string Kind(const fs::file_status &status) {
  switch (status.type()) {
    case fs::file_type::not_found: return "does not exist";  // also what a link leads to
    case fs::file_type::directory: return "is a folder";
    default: return "is not a regular file";
  }
}

}  // namespace

std::vector<uint8_t> ReadBytes(const fs::path &path, uint64_t limit) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::is_regular_file(status)) {
    throw FileError(fs::is_symlink(fs::symlink_status(path, error)) && !fs::exists(status) ? "is a link to nothing"
                                                                                           : Kind(status));
  }
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file.tellg();  // -1 for what cannot be read
  if (size > 0 && static_cast<uint64_t>(size) > limit) {
    throw FileError("has " + std::to_string(size) + " bytes, more than " + std::to_string(limit));
  }
  std::vector<uint8_t> data(static_cast<size_t>(std::max<std::streamoff>(size, 0)));
  file.seekg(0);
  file.read(reinterpret_cast<char *>(data.data()), size);
  if (!file) {
    throw FileError("cannot be read");
  }
  return data;
}

void WriteFile(const fs::path &path, const char *data, size_t size) {
  const fs::path unfinished = path.parent_path() / (".unfinished." + std::to_string(getpid()));
  std::error_code error;
  fs::remove(unfinished, error);
  {
    std::ofstream file(unfinished, std::ios::binary);
    file.write(data, static_cast<std::streamsize>(size));
    file.close();
    if (!file) {
      fs::remove(unfinished, error);
      throw InferError(path.string() + " cannot be written; is the disk full, or the folder read-only?");
    }
  }
  fs::rename(unfinished, path, error);
  if (error) {
    const std::string reason = error.message();
    fs::remove(unfinished, error);
    throw InferError(path.string() + " cannot be written: " + reason);
  }
}

void MakeFolder(const fs::path &folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw InferError(folder.string() + " cannot be created: " + error.message());
  }
}

bool IsPlainName(const std::string &name) {
  const fs::path path(name);
  const auto plain = [](const fs::path &part) { return !part.empty() && part != "." && part != ".."; };
  return !name.empty() && name.find('\0') == std::string::npos && path.is_relative() &&
         std::all_of(path.begin(), path.end(), plain);
}

bool LiesIn(const fs::path &path, const fs::path &folder) {
  std::error_code error;
  const fs::path inner = fs::weakly_canonical(path, error), outer = fs::weakly_canonical(folder, error);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

bool IsUtf8(const std::string &text) {
  size_t position = 0;
  while (position < text.size()) {
    const size_t length = CharacterLength(text, position);
    if (length == 0) {
      return false;
    }
    position += length;
  }
  return true;
}

std::string Shown(const std::string &text) {
  std::string shown;
  for (size_t position = 0; position < text.size();) {
    const size_t length = CharacterLength(text, position);
    if (length > 0 && !IsControl(text, position, length)) {
      shown += text.substr(position, length);
      position += length;
      continue;
    }
    for (const size_t end = position + std::max<size_t>(length, 1); position < end; ++position) {
      char escape[8];
      const auto byte = static_cast<unsigned char>(text[position]);
      std::snprintf(escape, sizeof(escape), "\\x%02x", static_cast<unsigned>(byte));
      shown += escape;
    }
  }
  return shown;
}
