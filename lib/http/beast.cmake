find_package(Boost 1.74 REQUIRED)
find_package(OpenSSL REQUIRED)

# Beast and Asio are header-only; everything of theirs stays inside these two files.
tango_library(tango_http_beast SOURCES beast_server.cpp beast_session.cpp
  PUBLIC tango_base PRIVATE Boost::headers OpenSSL::SSL OpenSSL::Crypto)
