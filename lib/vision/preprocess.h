// From decoded pixels to the network's input: resize, letterbox, crop, colour order, normalise.
// Shared by loaders, the runtime and the golden samples, so there is one implementation to measure.
// Resizing uses OpenCV imgproc inside the .cpp; nothing here allocates threads.
#pragma once

#include <span>

#include "lib/base/result.h"
#include "lib/vision/image.h"
#include "lib/vision/network.h"

namespace tango::vision {

// Equal size gives a plain copy (no resampling). Errors: InvalidSize.
Result<Image> resize(const Image& image, int width, int height, Interpolation interpolation);

// Where the image lies inside a letterboxed input.
struct Letterbox {
  double scale = 1;
  int left = 0;
  int top = 0;
};
// Keeps the aspect ratio, centres, fills borders with `pad_value`.
Result<Image> letterbox(const Image& image, int width, int height, Interpolation interpolation,
                        int pad_value, Letterbox* placed = nullptr);
// Scales so that the shorter side fits, then cuts the centre.
Result<Image> center_crop(const Image& image, int width, int height, Interpolation interpolation);

// Geometry and colour only: 8-bit image of the input's size and channels (Gray, RGB or BGR order).
// Training augments between this and normalise().
Result<Image> fit_to_input(const Image& image, const InputSpec& input);
// (pixel / 255 - mean) / std into planar `out` of channels*height*width floats. `image` has the
// input's size and channels. Errors: InvalidSize.
Status normalize(const Image& image, const InputSpec& input, std::span<float> out);
// fit_to_input, then normalize.
Result<FloatImage> preprocess(const Image& image, const InputSpec& input);

}  // namespace tango::vision
