// Runs the native operators on many small shapes, in arrays of exactly their size, and compares them with plain loops.
// tests/ops/test_native.py compiles it with the sanitizers.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

using Operator = int(int, void **, int *, int64_t **, const char **, void *, void *);
extern "C" Operator DepthwiseForward, DepthwiseGradients;
extern "C" void set_threads(int count);

static std::vector<float> random_floats(int64_t size) {
  std::vector<float> values(size);
  for (float &value : values) value = std::rand() / static_cast<float>(RAND_MAX) - 0.5f;
  return values;
}

static void compare(const char *what, const std::vector<float> &found, const std::vector<double> &wanted) {
  for (size_t n = 0; n < found.size(); ++n)
    if (!(std::abs(found[n] - wanted[n]) <= 1e-4)) {
      std::printf("%s: %g instead of %g\n", what, found[n], wanted[n]);
      std::exit(1);
    }
}

static void try_shape(int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t stride, int64_t top,
                      int64_t left, int64_t out_height, int64_t out_width) {
  int64_t map[] = {batch, channels, height, width}, out[] = {batch, channels, out_height, out_width};
  int64_t kernel[] = {channels, 1, 3, 3}, three[] = {3};
  auto x = random_floats(batch * channels * height * width), weight = random_floats(channels * 9);
  auto dy = random_floats(batch * channels * out_height * out_width);
  std::vector<float> y(dy.size()), dx(x.size()), dweight(weight.size());
  std::vector<double> want_y(y.size()), want_dx(x.size()), want_dweight(weight.size());
  std::vector<int32_t> settings = {static_cast<int32_t>(stride), static_cast<int32_t>(top), static_cast<int32_t>(left)};
  for (int64_t plane = 0; plane < batch * channels; ++plane)
    for (int64_t i = 0; i < out_height; ++i)
      for (int64_t j = 0; j < out_width; ++j)
        for (int64_t tap = 0; tap < 9; ++tap) {
          const int64_t row = i * stride + tap / 3 - top, column = j * stride + tap % 3 - left;
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          const int64_t to = (plane * out_height + i) * out_width + j, from = (plane * height + row) * width + column;
          const int64_t place = plane % channels * 9 + tap;
          want_y[to] += x[from] * weight[place];
          want_dx[from] += dy[to] * weight[place];
          want_dweight[place] += dy[to] * x[from];
        }
  const char *f = "float32", *i = "int32", *forward_types[] = {f, f, i, f}, *gradient_types[] = {f, f, f, i, f, f};
  void *forward[] = {x.data(), weight.data(), settings.data(), y.data()};
  int64_t *forward_shapes[] = {map, kernel, three, out};
  void *gradients[] = {dy.data(), x.data(), weight.data(), settings.data(), dx.data(), dweight.data()};
  int64_t *gradient_shapes[] = {out, map, kernel, three, map, kernel};
  if (DepthwiseForward(4, forward, nullptr, forward_shapes, forward_types, nullptr, nullptr) != 0 ||
      DepthwiseGradients(6, gradients, nullptr, gradient_shapes, gradient_types, nullptr, nullptr) != 0)
    std::exit(2);
  compare("output", y, want_y);
  compare("gradient of the input", dx, want_dx);
  compare("gradient of the weight", dweight, want_dweight);
}

int main() {
  int tried = 0;
  for (int64_t height : {1, 2, 3, 7, 16})
    for (int64_t width : {1, 2, 5, 19, 40, 67})
      for (int64_t stride : {1, 2})
        for (int64_t padding : {0, 1, 2})
          for (int64_t more : {0, 1})  // padding below and on the right: as above, or one less, as "same" may have it
            if (height + 2 * padding - more >= 3 && width + 2 * padding - more >= 3 && padding >= more) {
              set_threads(1 + tried++ % 4);
              try_shape(2, 3, height, width, stride, padding - more, padding - more,
                        (height + 2 * padding - more - 3) / stride + 1, (width + 2 * padding - more - 3) / stride + 1);
            }
  std::puts("all equal");
}
