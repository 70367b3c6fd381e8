#ifndef ASCEND310_INFER_FILES_H_
#define ASCEND310_INFER_FILES_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

// The bytes of a regular file of at most `limit` bytes. A folder, a pipe, a device or a link to nothing is refused
// before it is opened. Throws FileError.
std::vector<uint8_t> ReadBytes(const std::filesystem::path &path, uint64_t limit);

// Writes under another name in the same folder, then renames, so that no reader sees half a file. Throws InferError.
void WriteFile(const std::filesystem::path &path, const char *data, size_t size);

// Makes a folder and those above it. Throws InferError.
void MakeFolder(const std::filesystem::path &folder);

// Whether a name read from a file can be joined to a folder: relative, without "." and ".." and empty parts.
bool IsPlainName(const std::string &name);

// Whether a path lies in a folder when all links are followed.
bool LiesIn(const std::filesystem::path &path, const std::filesystem::path &folder);

bool IsUtf8(const std::string &text);

// The text for a terminal: control characters and bytes that are not UTF-8 as \xNN.
std::string Shown(const std::string &text);

#endif  // ASCEND310_INFER_FILES_H_
