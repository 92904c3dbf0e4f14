#include "inference/cli.h"

int main(int argc, char** argv) {
  return tango::inference::run_cli(std::vector<std::string>(argv + 1, argv + argc));
}
