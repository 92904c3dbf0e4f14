// Drawing answers onto images for people to look at: a caption bar with a stroke font. Used by
// `tango-infer predict --output image`; never part of a measurement.
#pragma once

#include <string_view>

#include "lib/vision/image.h"

namespace tango::vision {

// A copy in RGB, enlarged by whole factors until it is at least `min_width` wide, with a bar below
// that carries `caption` (printable ASCII; other bytes show as '?'), cut when it does not fit.
Image draw_caption(const Image& image, std::string_view caption, int min_width = 160);

}  // namespace tango::vision
