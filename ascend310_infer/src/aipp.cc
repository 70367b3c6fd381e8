#include <cmath>
#include <sstream>

#include "dvpp.h"
#include "errors.h"

#ifndef WITH_DVPP
std::unique_ptr<Dvpp> OpenDvpp(const ModelDescription &, int) {
  throw UsageError("this program was built without DVPP; build it with CMAKE_FLAGS=-DWITH_DVPP=ON, or leave out "
                   "--cpu_dvpp DVPP");
}
#endif

std::string AippConfig(const ModelDescription &description) {
  std::ostringstream text;
  text.precision(9);
  text << "aipp_op {\n"
       << "  aipp_mode: static\n"
       << "  input_format: YUV420SP_U8\n"
       << "  src_image_size_w: " << description.width << "\n"
       << "  src_image_size_h: " << description.height << "\n"
       << "  crop: false\n"
       << "  csc_switch: true\n"
       << "  rbuv_swap_switch: " << (description.bgr ? "true" : "false") << "\n";
  // JPEG's conversion (ITU-R BT.601, full range), in 256ths.
  const int matrix[3][3] = {{256, 0, 359}, {256, -88, -183}, {256, 454, 0}};
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      text << "  matrix_r" << row << "c" << column << ": " << matrix[row][column] << "\n";
    }
  }
  text << "  input_bias_0: 0\n  input_bias_1: 128\n  input_bias_2: 128\n";
  for (int channel = 0; channel < 3; ++channel) {
    // The chip subtracts a whole number and then a fraction.
    const float whole = std::floor(description.mean[channel]);
    text << "  mean_chn_" << channel << ": " << whole << "\n"
         << "  min_chn_" << channel << ": " << description.mean[channel] - whole << "\n"
         << "  var_reci_chn_" << channel << ": " << 1 / description.std[channel] << "\n";
  }
  text << "}\n";
  return text.str();
}
