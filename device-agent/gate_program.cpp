#include "device-agent/agent_main.h"

int main(int argc, char** argv) { return tango::agent::gate_main(argc, argv); }
