// Depthwise 3x3 convolution, strides 1 and 2, and its two gradients. float32, NCHW.
//
// With stride S a padded map is cut into S x S maps of every S-th row and column. On these each of the nine taps is the
// whole map moved by a constant offset, so that the loops below run over flat memory whatever the width of a map.
#include <algorithm>
#include <cstring>
#include <vector>

#include "pool.h"
#include "types.h"

namespace {

using namespace native;

constexpr int64_t kSide = 3, kTaps = kSide * kSide, kWide = 4 * kLanes, kFloatsPerTask = 1 << 15;

// One map of the input and of the output, and the cut maps between them.
struct Geometry {
  int64_t height, width, out_height, out_width, stride, top, left;
  int64_t more;         // rows and columns that a cut map has more than the output
  int64_t rows, pitch;  // of a cut map

  Geometry(const int64_t *input, const int64_t *output, const int32_t *settings)
      : height(input[2]), width(input[3]), out_height(output[2]), out_width(output[3]), stride(settings[0]),
        top(settings[1]), left(settings[2]), more((kSide - 1) / stride), rows(out_height + more),
        pitch(out_width + more) {}

  int64_t cut_size() const { return rows * pitch + kWide; }  // with what the last vector reads beyond
  int64_t tap(int64_t a, int64_t b) const {
    return (a % stride * stride + b % stride) * cut_size() + a / stride * pitch + b / stride;
  }

  // Calls use(cut, row, first column, columns): where each part of a row of the input lies in the cut maps.
  template <typename Use>
  void for_each_run(const Use &use) const {
    for (int64_t y = 0; y < height; ++y) {
      const int64_t row = (y + top) / stride;
      for (int64_t phase = 0; phase < stride; ++phase) {
        const int64_t x = ((phase - left) % stride + stride) % stride, column = (x + left) / stride;
        const int64_t inside = row < rows ? std::min(pitch - column, (width - x + stride - 1) / stride) : 0;
        use(y, x, ((y + top) % stride * stride + phase) * cut_size() + row * pitch + column,
            std::max<int64_t>(inside, 0));
      }
    }
  }
};

template <int64_t N>
void correlate_block(const float *in, const int64_t *offsets, const float *factors, int count, float *out) {
  Lanes sum[N] = {};
  for (int tap = 0; tap < count; ++tap)
    for (int64_t n = 0; n < N; ++n) sum[n] += factors[tap] * lanes(in + offsets[tap] + n * kLanes);
  for (int64_t n = 0; n < N; ++n) lanes(out + n * kLanes) = sum[n];
}

// out[j] = the sum of factors[tap] * in[offsets[tap] + j] for j below `size`, and some more.
void correlate(const float *in, const int64_t *offsets, const float *factors, int count, float *out, int64_t size) {
  int64_t j = 0;
  for (; j + kWide <= size; j += kWide) correlate_block<4>(in + j, offsets, factors, count, out + j);
  for (; j < size; j += kLanes) correlate_block<1>(in + j, offsets, factors, count, out + j);
}

// sums[tap] += the sum of a[j] * b[offsets[tap] + j]; `a` is 0 from `size` to the next whole vector.
void add_dots(const float *a, const float *b, const int64_t *offsets, int64_t size, double *sums) {
  Lanes sum[kTaps] = {};
  for (int64_t j = 0; j < size; j += kLanes) {
    const Lanes factor = lanes(a + j);
    for (int64_t tap = 0; tap < kTaps; ++tap) sum[tap] += factor * lanes(b + offsets[tap] + j);
  }
  for (int64_t tap = 0; tap < kTaps; ++tap)
    for (int64_t n = 0; n < kLanes; ++n) sums[tap] += sum[tap][n];
}

void cut(const Geometry &g, const float *map, float *cuts) {
  g.for_each_run([&](int64_t y, int64_t x, int64_t place, int64_t count) {
    const float *from = map + y * g.width + x;
    if (g.stride == 1) std::memcpy(cuts + place, from, count * sizeof(float));
    else for (int64_t n = 0; n < count; ++n) cuts[place + n] = from[2 * n];
  });
}

void join(const Geometry &g, const float *cuts, float *map) {
  const bool reached = g.rows * g.stride >= g.height + g.top && g.pitch * g.stride >= g.width + g.left;
  if (!reached) std::fill_n(map, g.height * g.width, 0.f);
  g.for_each_run([&](int64_t y, int64_t x, int64_t place, int64_t count) {
    float *to = map + y * g.width + x;
    if (g.stride == 1) std::memcpy(to, cuts + place, count * sizeof(float));
    else for (int64_t n = 0; n < count; ++n) to[2 * n] = cuts[place + n];
  });
}

std::vector<int64_t> taps_of(const Geometry &g) {
  std::vector<int64_t> offsets;
  for (int64_t a = 0; a < kSide; ++a)
    for (int64_t b = 0; b < kSide; ++b) offsets.push_back(g.tap(a, b));
  return offsets;
}

}  // namespace

// x (B, C, H, W), weight (C, 1, 3, 3), int32 (stride, rows of padding above, columns left) -> (B, C, H', W')
extern "C" int DepthwiseForward(int count, void **data, int *, int64_t **shapes, const char **types, void *, void *) {
  if (!have_types(count, types, "ffif")) return kWrongTypes;
  const Geometry g(shapes[0], shapes[3], static_cast<int32_t *>(data[2]));
  const auto *x = static_cast<float *>(data[0]), *weight = static_cast<float *>(data[1]);
  auto *y = static_cast<float *>(data[3]);
  const auto offsets = taps_of(g);
  const int64_t channels = shapes[0][1], maps = shapes[0][0] * channels, in_size = g.height * g.width;
  const int64_t out_size = g.out_height * g.out_width, flat = g.out_height * g.pitch;
  const int64_t per_task = std::max<int64_t>(1, kFloatsPerTask / std::max(in_size, out_size));
  Pool::get().run((maps + per_task - 1) / per_task, [&](int64_t task) {
    std::vector<float> cuts(g.stride * g.stride * g.cut_size()), rows(flat + kWide);
    for (int64_t map = task * per_task; map < std::min(maps, (task + 1) * per_task); ++map) {
      cut(g, x + map * in_size, cuts.data());
      correlate(cuts.data(), offsets.data(), weight + map % channels * kTaps, kTaps, rows.data(), flat);
      for (int64_t i = 0; i < g.out_height; ++i)
        std::memcpy(y + map * out_size + i * g.out_width, &rows[i * g.pitch], g.out_width * sizeof(float));
    }
  });
  return 0;
}

// Gradient of the output (B, C, H', W'), x, weight, settings as above -> gradients of x and of weight
extern "C" int DepthwiseGradients(int count, void **data, int *, int64_t **shapes, const char **types, void *, void *) {
  if (!have_types(count, types, "fffiff")) return kWrongTypes;
  const Geometry g(shapes[1], shapes[0], static_cast<int32_t *>(data[3]));
  const auto *dy = static_cast<float *>(data[0]), *x = static_cast<float *>(data[1]);
  const auto *weight = static_cast<float *>(data[2]);
  auto *dx = static_cast<float *>(data[4]), *dweight = static_cast<float *>(data[5]);
  const auto offsets = taps_of(g);
  const int64_t batch = shapes[1][0], channels = shapes[1][1], in_size = g.height * g.width;
  const int64_t out_size = g.out_height * g.out_width, cuts_size = g.stride * g.stride * g.cut_size();
  // dy with `more` rows and columns of zeros on each side; those on the right are the left ones of the next row.
  const int64_t first = g.more * g.pitch + g.more, padded_size = (g.rows + g.more) * g.pitch + g.more + kWide;
  Pool::get().run(channels, [&](int64_t channel) {
    std::vector<float> cuts(cuts_size), padded(padded_size), gradient(cuts_size);
    double sums[kTaps] = {};
    for (int64_t image = 0; image < batch; ++image) {
      const int64_t map = image * channels + channel;
      for (int64_t i = 0; i < g.out_height; ++i)
        std::memcpy(&padded[first + i * g.pitch], dy + map * out_size + i * g.out_width, g.out_width * sizeof(float));
      cut(g, x + map * in_size, cuts.data());
      add_dots(&padded[first], cuts.data(), offsets.data(), g.out_height * g.pitch, sums);
      for (int64_t part = 0; part < g.stride * g.stride; ++part) {
        int64_t places[kTaps];
        float factors[kTaps];
        int count = 0;
        for (int64_t a = part / g.stride; a < kSide; a += g.stride)
          for (int64_t b = part % g.stride; b < kSide; b += g.stride) {
            places[count] = first - a / g.stride * g.pitch - b / g.stride;
            factors[count++] = weight[channel * kTaps + a * kSide + b];
          }
        correlate(padded.data(), places, factors, count, &gradient[part * g.cut_size()], g.rows * g.pitch);
      }
      join(g, gradient.data(), dx + map * in_size);
    }
    std::copy_n(sums, kTaps, dweight + channel * kTaps);
  });
  return 0;
}
