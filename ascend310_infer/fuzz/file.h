#ifndef ASCEND310_INFER_FUZZ_FILE_H_
#define ASCEND310_INFER_FUZZ_FILE_H_

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

// Bytes as a file, in memory where the system has such a folder. Returns its path; one file for each process.
inline std::string AsFile(const uint8_t *data, size_t size) {
  const bool in_memory = std::filesystem::is_directory("/dev/shm");
  const std::string path = (in_memory ? "/dev/shm/fuzz_" : "/tmp/fuzz_") + std::to_string(getpid());
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char *>(data), static_cast<std::streamsize>(size));
  return path;
}

#endif  // ASCEND310_INFER_FUZZ_FILE_H_
