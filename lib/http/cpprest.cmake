find_package(cpprestsdk REQUIRED)
find_package(OpenSSL REQUIRED)
tango_library(tango_http_cpprest SOURCES cpprest_server.cpp
  PUBLIC tango_base PRIVATE cpprestsdk::cpprest OpenSSL::SSL OpenSSL::Crypto)
