// What MindSpore hands to an operator: `count` arrays, inputs first, with their shapes and the names of their types.
#pragma once
#include <cstdint>
#include <cstring>

namespace native {

// Floats of one register of the processor that the library is compiled for.
#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;
#endif
using Lanes = float __attribute__((vector_size(4 * kLanes), aligned(4)));

inline const Lanes &lanes(const float *from) { return *reinterpret_cast<const Lanes *>(from); }
inline Lanes &lanes(float *to) { return *reinterpret_cast<Lanes *>(to); }

constexpr int kWrongTypes = 2;  // MindSpore raises for a result above 0

// wanted: a letter per array, f for float32 and i for int32.
inline bool have_types(int count, const char **types, const char *wanted) {
  if (count != static_cast<int>(std::strlen(wanted))) return false;
  for (int n = 0; n < count; ++n)
    if (std::strcmp(types[n], wanted[n] == 'f' ? "float32" : "int32") != 0) return false;
  return true;
}

}  // namespace native
