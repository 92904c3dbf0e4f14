#include "device-agent/agent_main.h"

int main(int argc, char** argv) { return tango::agent::agent_main(argc, argv); }
