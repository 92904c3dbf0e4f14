// tangoctl, also installed as kubectl-tango.
#include <unistd.h>

#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "tangoctl/verbs.h"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe shows as a failed write
  std::vector<std::string> args(argv, argv + argc);
  int code = tango::ctl::run(args, {std::cout, std::cerr, std::cin, isatty(STDOUT_FILENO) != 0});
  std::cout.flush();
  return code;
}
