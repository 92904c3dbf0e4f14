// The program `tango-agent`: picks the role and parses its flags. A function of its own so that the
// crash tests can run the same program with a crash hook installed.
#pragma once

namespace tango::agent {

int agent_main(int argc, char** argv);
int gate_main(int argc, char** argv);

}  // namespace tango::agent
